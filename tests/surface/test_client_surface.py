"""The names of the Python client, which programs depend on, and how little it brings along."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from datasync import client
from datasync.client import AsyncClient, Client, ClientError

ROOT = Path(__file__).parents[2]
NAMES = {
    *("AsyncClient", "AsyncFileStream", "Client", "Downloaded", "FileHead", "FileStream"),
    *("BadRequest", "ClientError", "ClientSetupError", "Conflict", "DownloadBroken", "Forbidden"),
    *("NotFound", "ServiceError", "ServiceTimeout", "ServiceUnreachable", "TooManyRequests"),
    *("Unauthorized", "UnexpectedAnswer", "WaitTimeout", "changed"),
}
METHODS = {
    *("activity", "approve", "cancel", "download", "failure_page", "failures", "file_page"),
    *("files", "health", "notify", "outcome_page", "outcomes", "progress", "restore", "retry"),
    *("run", "run_page", "runs", "stats", "stream", "transfers", "trash", "trash_page"),
    *("trigger", "wait_for_run", "wait_until_in_sync"),
}
HEAVY = {"fastapi", "starlette", "uvicorn", "sqlalchemy", "pycurl", "boto3", "botocore", "typer"}


def _public(kind: type) -> dict[str, object]:
    return {name: member for name, member in vars(kind).items() if not name.startswith("_")}


def test_the_public_names() -> None:
    assert set(client.__all__) == NAMES
    errors = {name for name in NAMES if inspect.isclass(getattr(client, name))}
    assert {name for name in errors if issubclass(getattr(client, name), Exception)} == {
        kind.__name__ for kind in _tree(ClientError)
    }


def _tree(kind: type[Exception]) -> list[type[Exception]]:
    return [kind, *(below for child in kind.__subclasses__() for below in _tree(child))]


def test_both_clients_have_the_same_methods() -> None:
    assert set(_public(Client)) == METHODS | {"close", "url"}
    assert set(_public(AsyncClient)) == METHODS | {"aclose", "url"}


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_method_takes_the_same_in_both(name: str) -> None:
    one, other = (inspect.signature(getattr(kind, name)) for kind in (Client, AsyncClient))
    assert one.parameters == other.parameters
    assert getattr(Client, name).__doc__ and getattr(AsyncClient, name).__doc__


def test_importing_it_brings_no_part_of_the_service_and_does_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, threading, datasync.client\n"
        "ours = {name for name in sys.modules if name.startswith('datasync.')}\n"
        "parts = ('datasync.client', 'datasync.models')\n"
        "foreign = sorted(name for name in ours if not name.startswith(parts))\n"
        f"print(foreign, sorted({HEAVY!r} & set(sys.modules)), threading.active_count())\n"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.stdout, ran.stderr) == ("[] [] 1\n", "")
    assert list(tmp_path.iterdir()) == []
