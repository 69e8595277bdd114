"""The base of every recipe section, and how its refusals read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

from negalign_train.vocabulary.errors import RecipeError

_SHORT = 80


class Strict(BaseModel):
    """A frozen section of a recipe. It refuses keys it does not know, infinities and NaN, and
    ``yes`` or ``off`` (booleans in YAML) where a number is expected.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        assert info.field_name is not None
        kinds = _leaves(cls.model_fields[info.field_name].annotation)
        if kinds & {int, float} and bool not in kinds and _holds_boolean(value):
            raise ValueError(
                "expected a number, got a boolean (YAML reads yes, no, on, off as one)"
            )
        return value


def changed_fields(section: Strict, *names: str) -> list[str]:
    """Those of ``names`` whose value is not the default."""
    fields = type(section).model_fields
    return [name for name in names if getattr(section, name) != fields[name].default]


def _leaves(annotation: Any) -> set[Any]:
    """The plain types an annotation is made of: ``dict[str, float] | None`` has three."""
    inner = get_args(annotation)
    if not inner:
        return {annotation}
    return {leaf for each in inner for leaf in _leaves(each)}


def _holds_boolean(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_boolean, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_holds_boolean, value))
    return isinstance(value, bool)


def problems(error: ValidationError) -> list[tuple[tuple[str | int, ...], str, str]]:
    """Each fault's place, kind and message, with the value where it is a number or short text."""
    return [(item["loc"], item["type"], _message(item)) for item in error.errors(include_url=False)]


def _message(item: ErrorDetails) -> str:
    value, message = item["input"], item["msg"].removeprefix("Value error, ")
    short = isinstance(value, int | float) or (isinstance(value, str) and len(value) <= _SHORT)
    return f"{message}, got {value!r}" if short and item["type"] != "value_error" else message


class _OneKeyOnce(yaml.SafeLoader):
    """``safe_load`` that refuses a mapping with the same key twice: YAML keeps the last in silence,
    so that a second ``gate:`` would replace the first.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if isinstance(key, str | int | float | bool | None):
                if key in seen:
                    raise _DuplicateKeyError(f"line {line}: the key {key!r} stands there twice")
                seen.add(key)
        return super().construct_mapping(node, deep=deep)


class _DuplicateKeyError(yaml.YAMLError):
    pass


def load_once(text: str) -> Any:
    """YAML's value, by ``safe_load``, no mapping holding a key twice.

    Raises:
        yaml.YAMLError: it is no YAML, or holds a key twice.
    """
    return yaml.load(text, Loader=_OneKeyOnce)


def read_yaml(path: Path) -> Any:
    """A file's value, by ``load_once``.

    Raises:
        RecipeError: the file cannot be read, is no YAML, or holds a key twice.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_OneKeyOnce)
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 (byte {error.start}); fix the file") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{path}: not YAML ({error}); fix the file") from error
