"""A language model on a server as judge: nine severities from a chat endpoint, checked strictly."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

from negalign_train.recipe.judge_spec import JudgeServerSettings, ServerAddress
from negalign_train.severity.judges.base import Judgement, ReportPair, predicted_score
from negalign_train.severity.judges.server.endpoint import Endpoint, EndpointError
from negalign_train.severity.judges.server.question import (
    answer_schema,
    ask_about,
    prompt_digest,
    read_answer,
)
from negalign_train.severity.pricing.score import explain_unscorable
from negalign_train.storage.fingerprint import fingerprint
from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.records import SeverityScore

_DETAIL = "the answer of the model on the server"
_WAIT_SECONDS = 0.5
"""Before the first new attempt; twice as long before each further one."""
_LONGEST_WAIT_SECONDS = 10.0


class ServerJudge:
    """Asks a chat endpoint about each pair, several at once.

    ``version`` knows address, model name and prompt. It cannot know the weights behind the name:
    give another model another name.

    Args:
        draw: a number that a report cannot know, as text.
        wait: sleeps for some seconds.
    """

    name = "server"

    def __init__(
        self,
        address: ServerAddress,
        settings: JudgeServerSettings,
        draw: Callable[[], str] = lambda: secrets.token_hex(16),
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._address, self._settings = address, settings
        self._endpoint = Endpoint(address, settings)
        self._draw, self._wait = draw, wait
        self._stopped = threading.Event()

    @cached_property
    def model(self) -> str:
        """The model's name on the server.

        Raises:
            DataError: the spec names none, and the server does not say which it has, or has
                several.
        """
        if self._address.model is not None:
            return self._address.model
        try:
            models = self._endpoint.models()
        except EndpointError as error:
            raise DataError(
                f"the judge's server {self._address.url} gave no list of its models "
                f"({error.reason}); start it, or name the model: server:URL#MODEL"
            ) from error
        if len(models) != 1:
            raise DataError(
                f"the judge's server {self._address.url} has {len(models)} models; name one: "
                "server:URL#MODEL"
            )
        return models[0]

    @cached_property
    def version(self) -> str:
        settings = self._settings.max_tokens
        return fingerprint([self._address.url, self.model, prompt_digest(), settings])[:12]

    def judge(self, pairs: Sequence[ReportPair]) -> list[Judgement]:
        """One judgement per pair, in order. The context is not used: the question leaves it out.

        Raises:
            DataError: the server is not on this machine or its network, and that is not allowed.
        """
        version = self.version  # before the threads: it may ask the server, too
        self._stopped.clear()
        with ThreadPoolExecutor(self._settings.concurrency) as pool:
            answers = pool.map(self._answer, pairs)
            try:
                return [Judgement(self.name, version, score, reason) for score, reason in answers]
            except BaseException:
                # Ctrl-C, say: nobody waits for what is under way.
                self._stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
                self._endpoint.hang_up()
                raise

    def _answer(self, pair: ReportPair) -> tuple[SeverityScore | None, str | None]:
        if (reason := explain_unscorable(pair.reference, pair.candidate)) is not None:
            return None, reason
        reason = "judge_bad_answer"
        for attempt in range(self._settings.retries + 1):
            if attempt:
                self._wait(min(_LONGEST_WAIT_SECONDS, _WAIT_SECONDS * 2 ** (attempt - 1)))
            try:
                severities = read_answer(self._endpoint.chat(self._body(pair)))
            except EndpointError as error:
                reason = error.reason
                if not error.again or self._stopped.is_set():
                    break
                continue
            if severities is not None:
                return predicted_score(severities, _DETAIL, pair.reference), None
            reason = "judge_bad_answer"
        return None, reason

    def _body(self, pair: ReportPair) -> dict[str, object]:
        """A request; every attempt draws new marks."""
        schema = {"name": "severities", "strict": True, "schema": answer_schema()}
        return {
            "model": self.model,
            "messages": ask_about(pair, self._draw).messages,
            "temperature": 0,
            "seed": 0,
            "max_tokens": self._settings.max_tokens,
            "stream": False,
            "response_format": {"type": "json_schema", "json_schema": schema},
        }
