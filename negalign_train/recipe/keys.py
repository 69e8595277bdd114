"""What a recipe may say, read from its types: the reference page, and help with a mistyped key."""

from __future__ import annotations

import ast
import difflib
import inspect
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from negalign_train.recipe.trainer import KEYS

_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
_WORDS: dict[Any, str] = {
    str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path",
    Any: "any value", NoneType: "null",
}  # fmt: skip
_TRAINER = (
    "Keys and values of TRL's own config (DPOConfig, KTOConfig, GRPOConfig, SFTConfig), whose "
    "documentation says what each does. ``learning_rate``, ``per_device_train_batch_size``, one of "
    "``num_train_epochs`` and ``max_steps``, and ``beta`` (but for sft) are required; a key that "
    "is left out has TRL's default."
)


@dataclass(frozen=True)
class Key:
    """One key: its dotted name inside its section, what it takes, its default as YAML (None: it
    is required), and its docstring.
    """

    name: str
    takes: str
    default: str | None
    meaning: str


@dataclass(frozen=True)
class RecipeSection:
    """One type of a recipe. ``path`` is where it stands, such as ``candidates[].lora``."""

    path: str
    meaning: str
    keys: tuple[Key, ...]


def recipe_sections(model: type[BaseModel], path: str = "") -> Iterator[RecipeSection]:
    """``model`` and the sections inside it, outer ones first, each with its keys in order."""
    meanings = _field_docs(model)
    keys, inner = [], []
    for field_name, field in model.model_fields.items():
        name = field.alias or field_name
        nested, repeated = _section_type(field.annotation)
        if nested is not None:
            place = ".".join(filter(None, (path, name))) + ("[]" if repeated else "")
            inner.append((nested, place))
        meaning = meanings.get(field_name, "")
        if nested is not None:
            summary = inspect.cleandoc(nested.__doc__ or "").split("\n\n")[0]
            meaning = meaning or " ".join(summary.split())
        keys.append(Key(name, _takes(field), _default(field), meaning))
    yield RecipeSection(path, inspect.cleandoc(model.__doc__ or ""), tuple(keys))
    for nested, place in inner:
        yield from recipe_sections(nested, place)


def trainer_section(path: str = "candidates[].trainer") -> RecipeSection:
    """Keys of a candidate's ``trainer``; the meaning of each is the methods that take it."""
    methods: dict[tuple[str, str], list[str]] = {}
    for method, keys in KEYS.items():
        for name, annotation in get_type_hints(keys, include_extras=True).items():
            methods.setdefault((name, _type_text(annotation)), []).append(method)
    keys_of_methods = tuple(
        Key(name, takes, "", f"Taken by {', '.join(takers)}.")
        for (name, takes), takers in sorted(methods.items())
    )
    return RecipeSection(path, _TRAINER, keys_of_methods)


def suggestion(model: type[BaseModel], location: Sequence[str | int]) -> str:
    """What an unknown key at ``location`` was probably meant to be, and else what is allowed."""
    section: type[BaseModel] = model
    for part in location[:-1]:
        if isinstance(part, int):
            continue
        fields = {field.alias or name: field for name, field in section.model_fields.items()}
        nested = _section_type(fields[part].annotation)[0] if part in fields else None
        if nested is None:
            return "unknown key"
        section = nested
    allowed = [field.alias or name for name, field in section.model_fields.items()]
    near = difflib.get_close_matches(str(location[-1]), allowed, n=1)
    if near:
        return f"unknown key; did you mean {near[0]}?"
    elsewhere = [
        f"{part.path}.{key.name}".lstrip(".")
        for part in recipe_sections(model)
        for key in part.keys
        if key.name == location[-1]
    ]
    if elsewhere:
        return f"unknown key here; it belongs at {' or '.join(elsewhere)}"
    return f"unknown key; allowed are {', '.join(allowed)}"


def _section_type(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The section that a field holds, and whether it holds a list of them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    for part in get_args(annotation):
        nested, _ = _section_type(part)
        if nested is not None:
            return nested, get_origin(annotation) in (tuple, list)
    return None, False


def _takes(field: FieldInfo) -> str:
    text = _type_text(field.annotation)
    nullable = " or null" if text.endswith(" or null") else ""
    return _joined(text.removesuffix(" or null"), _bounds(field.metadata)) + nullable


def _joined(text: str, bounds: Sequence[str]) -> str:
    return f"{text} {' and '.join(bounds)}" if bounds else text


def _bounds(metadata: Sequence[Any]) -> list[str]:
    """Bounds of a field as text; an unknown constraint raises, so that none is left out."""
    bounds: list[str] = []
    for item in metadata:
        if isinstance(item, FieldInfo):
            bounds += _bounds(item.metadata)
            continue
        constraints = getattr(item, "__dict__", {}) or {
            name: getattr(item, name) for name in getattr(item, "__slots__", ())
        }
        for name, value in constraints.items():
            if name in _BOUNDS:
                bounds.append(f"{_BOUNDS[name]} {value:g}")
            elif name == "min_length":
                bounds.append("(not empty)" if value == 1 else f"(at least {value})")
            elif name == "pattern":
                bounds.append(f"matching `{value}`")
            elif name == "allow_inf_nan":
                bounds.append("finite")
            elif name not in ("func", "json_schema_input_type", "strict") and value is not None:
                raise TypeError(f"constraint {name} of a recipe key has no words yet; add them")
    return bounds


def _type_text(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation in _WORDS:
        return _WORDS[annotation]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "a section"
    if origin is Literal:
        return ", ".join(f"`{_yaml(value)}`" for value in parts)
    if origin is Annotated:
        return _joined(_type_text(parts[0]), _bounds(parts[1:]))
    if origin in (Union, UnionType):
        return " or ".join(_type_text(part) for part in parts)
    if origin is dict:
        return f"mapping of {_type_text(parts[0])} to {_type_text(parts[1])}"
    if origin is list or (origin is tuple and parts[-1] is Ellipsis):
        inner = _type_text(parts[0])
        return "list of sections" if inner == "a section" else f"list of {inner}"
    if origin is tuple:
        return f"list of {len(parts)}: {', '.join(_type_text(part) for part in parts)}"
    raise TypeError(f"{annotation} of a recipe key has no words yet; add them")


def _default(field: FieldInfo) -> str | None:
    if field.is_required():
        return None
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "its defaults"
    if value is None:
        return "null"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_yaml, value))}]"
    return _yaml(value)


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _field_docs(model: type[BaseModel]) -> dict[str, str]:
    """The string that stands under each field, on one line."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(body, ast.ClassDef)
    docs = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            docs[field.target.id] = " ".join(below.value.value.split())
    return docs
