"""What names a judge: ``rules``, ``nli:DIR``, ``server:URL``. Nothing is opened here."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from negalign_train.recipe.strict import Strict
from negalign_train.vocabulary.errors import RecipeError

RADEVAL_METRICS = ("radgraph", "chexbert", "green")
"""Clinical metrics that the package ``radeval`` brings."""
FORMS = {
    "rules": ("rules",),
    "encoder": ("encoder", "encoder:DIR"),
    "nli": ("nli:DIR",),
    "finetuned": ("finetuned:DIR",),
    "self": ("self", "self:embedded", "self:DIR", "self:DIR#ADAPTER_DIR"),
    "ensemble": ("ensemble", "ensemble:FILE"),
    "server": ("server:URL", "server:URL#MODEL"),
    "radeval": tuple(f"radeval:{name}" for name in RADEVAL_METRICS),
}
"""Every kind of judge, and what its spec may look like."""
MAX_SPEC = 2000
"""Characters; no path or address is as long."""


@dataclass(frozen=True)
class JudgeSpec:
    """A kind of judge and what follows the colon; ``place`` is empty where nothing does."""

    kind: str
    place: str = ""


@dataclass(frozen=True)
class ServerAddress:
    """An OpenAI-compatible endpoint: ``url`` up to the version (``http://host:8000/v1``), and the
    model's name there (None: the only one that it serves). Neither holds a secret.
    """

    url: str
    model: str | None = None

    @property
    def is_https(self) -> bool:
        return self.url.startswith("https://")

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or (443 if self.is_https else 80)

    @property
    def path(self) -> str:
        return urlsplit(self.url).path


def parse_judge(text: str) -> JudgeSpec:
    """The spec of a judge.

    Raises:
        ValueError: there is no such kind, or what must follow the colon is missing or wrong.
    """
    kind, colon, place = text.partition(":")
    forms = FORMS.get(kind, ())
    takes_place = any(":" in form for form in forms)
    fits = (takes_place and bool(place.strip())) if colon else kind in forms
    if not fits or len(text) > MAX_SPEC or text != text.strip() or not text.isprintable():
        known = ", ".join(form for some in FORMS.values() for form in some)
        # An address may hold a secret, and a mistyped one does not begin with "server".
        shown = repr(text) if "@" not in text and len(text) <= 80 else "(not shown)"
        raise ValueError(f"judge {shown} is none of: {known}")
    if kind == "radeval" and place not in RADEVAL_METRICS:
        raise ValueError(f"judge radeval:METRIC takes one of {', '.join(RADEVAL_METRICS)}")
    if kind == "server":
        server_address(place)
    if kind == "self" and place.startswith("#"):
        raise ValueError("judge self:#ADAPTER_DIR lacks the base's folder; give self:DIR#ADAPTER")
    return JudgeSpec(kind, place)


def server_address(place: str) -> ServerAddress:
    """The endpoint that follows ``server:``.

    Raises:
        ValueError: it is no http address, or holds what is no address: a user, a password, a query.
    """
    address, _, model = place.partition("#")
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        raise ValueError("the server's address is no URL; give http://HOST:PORT/v1") from None
    if parts.username is not None or parts.password is not None or parts.query:
        raise ValueError(
            "the server's address holds a user, a password or a query, and a recipe is no place "
            "for a secret; put the key into the environment variable NEGALIGN_JUDGE_API_KEY"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError("the server's address must be http://HOST:PORT/v1 or https://…")
    if "#" in place and not model.strip():
        raise ValueError("nothing follows the # of the server's address; give the model's name")
    path = parts.path.rstrip("/") or "/v1"
    return ServerAddress(f"{parts.scheme}://{parts.netloc.lower()}{path}", model or None)


def is_public(host: str) -> bool:
    """Whether ``host`` is a numeric address outside this machine and its private networks; a name
    is not looked up here.
    """
    try:
        return not is_local(host)
    except ValueError:
        return False


def is_local(address: str) -> bool:
    """Whether a numeric address is this machine's or a private network's.

    Raises:
        ValueError: it is not numeric.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return (ip.is_private or ip.is_loopback or ip.is_link_local) and not ip.is_unspecified


def _check(text: str) -> str:
    if parse_judge(text).kind == "radeval":
        raise ValueError(
            f"judge {text} sees some of the nine categories only, and a recipe needs a judge of "
            "all; ask it in negalign judge bench, negalign judge compare or negalign score"
        )
    return text


JudgeName = Annotated[str, AfterValidator(_check)]
"""A judge's spec in a recipe."""


class JudgeServerSettings(Strict):
    """How a judge ``server:URL`` is asked, wherever the recipe names one."""

    timeout_seconds: float = Field(default=120.0, gt=0, le=3600)
    """For one report."""
    retries: int = Field(default=2, ge=0, le=10)
    """How often a request is made again that failed, or whose answer is no nine severities."""
    concurrency: int = Field(default=8, ge=1, le=256)
    """Requests under way at once, in each process that asks."""
    max_tokens: int = Field(default=512, ge=64, le=32768)
    """Of an answer; a model that thinks first needs more."""
    allow_remote: bool = False
    """true also asks servers outside this machine and its private networks: report text leaves
    them."""


DEFAULT_SERVER = JudgeServerSettings()


def refuse_judges(
    first: str, second: str | None, rewards: Iterable[str | None], server: JudgeServerSettings
) -> None:
    """Raises ValueError where the judges that a recipe names do not go together.

    Args:
        first: ``severity.judge``.
        second: ``gate.second_judge``.
        rewards: every ``reward.judge``.
        server: ``severity.server``.
    """
    if second == first:
        raise ValueError(
            f"gate.second_judge {second} is severity.judge itself, and would always agree; name "
            "another one, or take it out"
        )
    named = [parse_judge(text) for text in dict.fromkeys([first, second, *rewards]) if text]
    servers = [server_address(spec.place) for spec in named if spec.kind == "server"]
    members = any(spec.kind == "ensemble" and spec.place for spec in named)
    if server != DEFAULT_SERVER and not servers and not members:
        raise ValueError("no judge of the recipe is a server: remove severity.server")
    for address in servers:
        if is_public(address.host) and not server.allow_remote:
            raise ValueError(remote_message(address.host))


def remote_message(host: str) -> str:
    """Why a server is not asked."""
    return (
        f"the judge's server {host} is outside this machine and its private networks, and reports "
        "would leave them; use a local one, or set severity.server.allow_remote: true"
    )


def parse_specs(judges: str) -> list[str]:
    """The comma-separated specs of an option, each once.

    Raises:
        RecipeError: one is empty, unknown, or comes twice.
    """
    specs = [part.strip() for part in judges.split(",")]
    for spec in specs:
        try:
            parse_judge(spec)
        except ValueError as error:
            raise RecipeError(str(error)) from None
    if len(set(specs)) != len(specs):
        raise RecipeError("a judge is named twice; name each once")
    return specs
