"""Frozen dataclasses as JSON objects and back; what does not fit the record is refused by name.

A field with a default may be absent, and is left out of the JSON where it has that value. Keys of a
mapping may be whole numbers; JSON holds them as text.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Record = TypeVar("Record")


def record_to_json(record: Any) -> dict[str, Any]:
    """The fields of a dataclass in their order, records within it too."""
    return {
        field.name: _plain(value)
        for field in fields(record)
        if (value := getattr(record, field.name)) != field.default
    }


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return record_to_json(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def record_from_json(kind: type[Record], value: Any, where: str = "") -> Record:
    """The record that ``record_to_json`` wrote.

    Raises:
        ValueError: an unknown or missing key, or a value of another type; the message names the
            dotted key, and holds no value.
    """
    _check(isinstance(value, Mapping), where, "must be an object")
    hints = get_type_hints(kind)
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    inside = f"{where}." if where else ""
    for name in value:
        _check(name in known, f"{inside}{name}", "unknown key")
    for name, field in known.items():
        _check(name in value or field.default is not MISSING, f"{inside}{name}", "missing")
    return kind(
        **{name: _typed(hints[name], each, f"{inside}{name}") for name, each in value.items()}
    )


def _typed(hint: Any, value: Any, where: str) -> Any:
    """``value`` as the type that a field declares."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        (inner,) = (each for each in arguments if each is not type(None))
        return None if value is None else _typed(inner, value, where)
    if origin is Literal:
        _check(value in arguments, where, f"must be one of {', '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        _check(isinstance(value, list | tuple), where, "must be a list")
        return tuple(_typed(arguments[0], each, f"{where}[{n}]") for n, each in enumerate(value))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        _check(isinstance(value, Mapping), where, "must be an object")
        return {
            _key(arguments[0], key, where): _typed(arguments[1], each, f"{where}.{key}")
            for key, each in value.items()
        }
    if is_dataclass(hint):
        assert isinstance(hint, type)
        return record_from_json(hint, value, where)
    fits = type(value) in ((int, float) if hint is float else (hint,))
    _check(fits, where, f"must be of type {hint.__name__}")
    return value


def _key(hint: Any, key: Any, where: str) -> Any:
    if hint is not int:
        return _typed(hint, key, where)
    _check(str(key).isdecimal(), where, "must have whole numbers as keys")
    return int(key)


def _check(holds: bool, where: str, problem: str) -> None:
    if not holds:
        raise ValueError(f"{where or 'the record'}: {problem}")
