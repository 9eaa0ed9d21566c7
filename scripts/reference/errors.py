"""Every error of the service: its place in the tree, its status, and what to do about it."""

import re
from collections.abc import Iterator

from datasync import errors
from datasync.api.error_responses import (
    HTTP_NAMES,
    http_answer,
    status_of,
    unexpected_answer,
)
from datasync.errors import DataSyncError
from datasync.models.s3_models import ErrorAnswer
from scripts.reference.markdown import block, code, heading, joined, names_as_code, table

HEAD = ("Error", "Status", "Tried again", "What it is", "What to do")


def error_tree() -> str:
    """The tree as the code draws it, then a table for each branch."""
    return joined([block("text", _drawing()), *map(_section, _branches()), _of_http()])


def told() -> dict[str, str]:
    """What the tree says beside the name of each error."""
    lines = re.findall(r"^[ │├└─]*(\w+)(?: +(\S.*))?$", _drawing(), re.MULTILINE)
    return dict(lines)


def tree(kind: type[DataSyncError]) -> list[type[DataSyncError]]:
    """An error and all below it, from the top; not what a part of the code keeps to itself."""
    return [kind, *(below for child in _children(kind) for below in tree(child))]


def _children(kind: type[DataSyncError]) -> list[type[DataSyncError]]:
    return [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]


def _drawing() -> str:
    text = errors.__doc__ or ""
    lines = [line.removeprefix("    ") for line in text.split("\n\n")[1].splitlines()]
    return "\n".join(lines)


def _branches() -> Iterator[tuple[str, list[type[DataSyncError]]]]:
    """The root and what has nothing below it first, then each branch."""
    alone = [kind for kind in _children(DataSyncError) if not _children(kind)]
    yield "DataSyncError", [DataSyncError, *alone]
    for kind in _children(DataSyncError):
        if kind not in alone:
            yield kind.__name__, tree(kind)


def _section(branch: tuple[str, list[type[DataSyncError]]]) -> str:
    name, kinds = branch
    return joined([heading(2, name, f"branch-{name.lower()}"), table(HEAD, map(_row, kinds))])


def _of_http() -> str:
    """What is answered before any part of the service is asked, and when nobody foresaw it."""
    answers = [*(http_answer(status) for status in sorted(HTTP_NAMES)), unexpected_answer()]
    rows = []
    for each in answers:
        told = ErrorAnswer.model_validate_json(bytes(each.body))
        rows.append([code(told.error), str(each.status_code), told.detail, told.hint])
    head = ("Error", "Status", "What it is", "What to do")
    return joined([heading(2, "Of HTTP itself", "of-http"), table(head, rows)])


def _row(kind: type[DataSyncError]) -> list[str]:
    own = f'<span id="{kind.__name__.lower()}"></span>{code(kind.__name__)}'
    again = "yes" if kind.retryable else "no"
    return [own, str(status_of(kind("x"))), again, _meaning(kind), names_as_code(kind.hint)]


def _meaning(kind: type[DataSyncError]) -> str:
    """What the tree says of it, else the first sentence of its own text."""
    if text := told().get(kind.__name__):
        return names_as_code(text[0].upper() + text[1:])
    own = kind.__doc__ if "__doc__" in vars(kind) else ""
    return names_as_code((own or "").split("\n\n")[0].strip().rstrip("."))
