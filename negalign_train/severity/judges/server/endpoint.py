"""Requests to an OpenAI-compatible server on this machine or its network. No text is ever logged.

The connection itself is looked at before anything is sent: the address that answers must be local,
whatever name stood in the recipe and whatever a name server made of it. Proxies of the environment
are not used, and no redirect is followed.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from negalign_train.recipe.judge_spec import (
    JudgeServerSettings,
    ServerAddress,
    is_local,
    remote_message,
)
from negalign_train.vocabulary.errors import DataError

KEY_VARIABLE = "NEGALIGN_JUDGE_API_KEY"
"""Environment variable of the server's key, if it wants one."""
_MAX_ANSWER_BYTES = 1 << 20


class EndpointError(Exception):
    """A request that came to nothing. ``reason`` is a code of ``JUDGE_FAILURES`` or
    ``NO_PROPER_ANSWER``; ``again`` says whether the same request may succeed later.
    """

    def __init__(self, reason: str, again: bool) -> None:
        super().__init__(reason)
        self.reason, self.again = reason, again


class Endpoint:
    """One server; each request has a connection of its own, so that threads share nothing."""

    def __init__(self, address: ServerAddress, settings: JudgeServerSettings) -> None:
        self._address, self._settings = address, settings
        self._open: set[http.client.HTTPConnection] = set()

    def hang_up(self) -> None:
        """Ends every request that is under way: each fails at once, as ``judge_unreachable``."""
        for connection in list(self._open):
            if connection.sock is not None:
                with suppress(OSError):  # it ended by itself
                    connection.sock.shutdown(socket.SHUT_RDWR)

    def models(self) -> list[str]:
        """The names of the models that the server has.

        Raises:
            EndpointError: no list.
        """
        answer = self._request("GET", "/models", None)
        try:
            return [str(card["id"]) for card in answer["data"]]
        except (KeyError, TypeError) as error:
            raise EndpointError("judge_bad_answer", again=False) from error

    def chat(self, body: Mapping[str, Any]) -> str:
        """The text of the first choice.

        Raises:
            EndpointError: no answer, an error, or an answer without such a text.
            DataError: the server is not on this machine or its network, and that is not allowed.
        """
        answer = self._request("POST", "/chat/completions", body)
        try:
            choice = answer["choices"][0]
            text = choice["message"]["content"]
        except (KeyError, IndexError, TypeError) as error:
            raise EndpointError("judge_bad_answer", again=True) from error
        if not isinstance(text, str) or choice.get("finish_reason") == "length":
            raise EndpointError("judge_bad_answer", again=True)
        return text

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        connection = self._connection()
        latest = time.monotonic() + self._settings.timeout_seconds
        self._open.add(connection)
        try:
            self._connect(connection)
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, f"{self._address.path}{path}", data, self._headers())
            response = connection.getresponse()
            status, content = response.status, _read(response, latest)
        except TimeoutError as error:
            raise EndpointError("judge_timeout", again=True) from error
        except (OSError, http.client.HTTPException) as error:
            raise EndpointError("judge_unreachable", again=True) from error
        finally:
            self._open.discard(connection)
            connection.close()
        if status >= 500 or status in (408, 429):
            raise EndpointError("judge_error", again=True)
        if status != 200:
            raise EndpointError("judge_refused", again=False)
        return _parsed(content)

    def _connection(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._address.is_https else http.client.HTTPConnection
        return kind(self._address.host, self._address.port, timeout=self._settings.timeout_seconds)

    def _connect(self, connection: http.client.HTTPConnection) -> None:
        """Raises DataError where what answered is not local, before anything is sent to it."""
        connection.connect()
        assert isinstance(connection.sock, socket.socket)
        peer = connection.sock.getpeername()[0]
        if not self._settings.allow_remote and not is_local(peer):
            raise DataError(remote_message(self._address.host))

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if key := os.environ.get(KEY_VARIABLE):
            headers["Authorization"] = f"Bearer {key}"
        return headers


def _read(response: http.client.HTTPResponse, latest: float) -> bytes:
    """The body, as far as ``_MAX_ANSWER_BYTES`` and one byte.

    Raises:
        TimeoutError: a server that sends a little now and then keeps nobody waiting for ever.
    """
    content = b""
    while len(content) <= _MAX_ANSWER_BYTES and (part := response.read1(1 << 16)):
        content += part
        if time.monotonic() > latest:
            raise TimeoutError
    return content


def _parsed(content: bytes) -> Any:
    if len(content) > _MAX_ANSWER_BYTES:
        raise EndpointError("judge_bad_answer", again=False)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise EndpointError("judge_bad_answer", again=True) from error
