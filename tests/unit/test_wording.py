"""On a terminal, hints speak of commands: every route that an error names has its command."""

import re

import pytest

from datasync.cli.wording import in_commands
from datasync.errors import DataSyncError, MalformedRequest, RunMissing

ROUTE = re.compile(r"\b(GET|POST) /|/sync/|/docs")


def _tree(kind: type[DataSyncError]) -> list[type[DataSyncError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in _tree(child))]


@pytest.mark.parametrize("kind", _tree(DataSyncError), ids=lambda kind: kind.__name__)
def test_no_hint_names_a_route(kind: type[DataSyncError]) -> None:
    assert ROUTE.search(in_commands(kind.hint)) is None


@pytest.mark.parametrize(
    "said, shown",
    [
        (RunMissing.hint, "List the runs with datasync runs."),
        ("1 key failed, see /sync/failures", "1 key failed, see datasync failures"),
        (
            "approve it with 'datasync approve 5' or POST /sync/runs/5/approve.",
            "approve it with 'datasync approve 5'.",
        ),
        (
            "or reject it with 'datasync cancel 5' or POST /sync/runs/5/cancel.",
            "or reject it with 'datasync cancel 5'.",
        ),
        ("the key a/sync/failures is odd", "the key a/sync/failures is odd"),
        (MalformedRequest.hint, "Add --help to see its use."),
    ],
)
def test_a_route_becomes_its_command(said: str, shown: str) -> None:
    assert in_commands(said) == shown
