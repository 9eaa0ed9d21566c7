"""Every setting of the service, in the groups and the order of `.env.example`."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from dotenv import dotenv_values
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from datasync.config.settings import SECRETS, Settings
from scripts.reference.markdown import code, facts, heading, joined, names_as_code

EXAMPLE = Path(__file__).parents[2] / ".env.example"
_WORDS = {bool: "`true` or `false`", int: "whole number", float: "number", Path: "path"}
_BOUNDS = {"gt": "above {}", "ge": "at least {}", "lt": "below {}", "le": "at most {}"}


def settings() -> str:
    """A section for each group, and in it one for each variable."""
    return joined(
        joined([heading(2, title, f"group-{number}"), *map(_setting, names)])
        for number, (title, names) in enumerate(groups(), 1)
    )


def groups() -> Iterator[tuple[str, list[str]]]:
    """The headings of `.env.example`, and the variables below each."""
    parts = re.split(r"^# --- (.+?) -+$", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for title, text in zip(parts[1::2], parts[2::2], strict=True):
        yield title, re.findall(r"^([A-Z0-9_]+)=", text, re.MULTILINE)


def default_of(name: str) -> str:
    """The default, as `.env.example` writes it; `required` and `empty` for what has none."""
    if Settings.model_fields[name].is_required():
        return "required"
    return dotenv_values(EXAMPLE)[name.upper()] or "empty"


def is_secret(name: str) -> bool:
    return name in SECRETS or name == "database_url"


def _setting(variable: str) -> str:
    name = variable.lower()
    field = Settings.model_fields[name]
    default = default_of(name)
    return joined(
        [
            heading(3, code(variable), name),
            meaning(field),
            facts(
                [
                    ("Type", type_of(field)),
                    ("Default", default if default in ("required", "empty") else code(default)),
                    ("Example", code(f"{variable}={(field.examples or [''])[0]}")),
                    ("Secret", "shown nowhere" if is_secret(name) else ""),
                    ("From a file", _file_variant(name)),
                ]
            ),
        ]
    )


def meaning(field: FieldInfo) -> str:
    """The description, with the values and names in it as code."""
    text = names_as_code((field.description or "").rstrip("."))
    return re.sub(r"\b(true|false|auto|group|none|console|json)(?=: )", r"`\1`", text) + "."


def _file_variant(name: str) -> str:
    other = f"{name}_file"
    return f"[{code(other.upper())}](#{other})" if other in Settings.model_fields else ""


def type_of(field: FieldInfo) -> str:
    """In words: what may stand there."""
    words = " or ".join(dict.fromkeys(_words(field.annotation)))
    bounds = _bounds(field.metadata) or _bounds(_inner_metadata(field.annotation))
    return ", ".join([words, *bounds])


def _words(annotation: Any) -> Iterator[str]:
    origin = get_origin(annotation)
    if annotation is NoneType:
        return
    if origin is Literal:
        yield from map(code, get_args(annotation))
    elif origin is tuple:
        yield "list, with commas"
    elif annotation in (str, SecretStr):
        yield "text"
    elif annotation in _WORDS:
        yield _WORDS[annotation]
    else:  # a union, or an annotated type: what it is made of
        for inner in get_args(annotation):
            if isinstance(inner, type) or get_origin(inner) is not None:
                yield from _words(inner)


def _inner_metadata(annotation: Any) -> list[Any]:
    """The constraints of the members of a union."""
    found: list[Any] = []
    for inner in get_args(annotation):
        for extra in getattr(inner, "__metadata__", ()):
            found += getattr(extra, "metadata", [])
    return found


def _bounds(metadata: list[Any]) -> list[str]:
    return [
        words.format(f"{getattr(limit, kind):,}")
        for limit in metadata
        for kind, words in _BOUNDS.items()
        if getattr(limit, kind, None) is not None
    ]
