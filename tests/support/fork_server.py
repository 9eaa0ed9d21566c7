"""Processes without their second of imports: one process imports the service, its forks are it.

A fork starts with nothing but imported modules: no thread, no open file, no setting. What runs in
it is the same code from its first line on; only the interpreter's own start is left out.
"""

import json
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[2]
IMPORTED = (
    "datasync.app",
    "datasync.cli.entry",
    "boto3",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
    "tests.support.crash_stories",
)


class ForkServer:
    """Starts processes that call a function of this project. One caller at a time."""

    def __init__(self, log: Path) -> None:
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.fork_server"],
                cwd=PROJECT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._log = log

    def close(self) -> None:
        """End it; its forks are to be ended by those who asked for them."""
        self._process.communicate(timeout=30)

    def start(
        self,
        function: str,
        arguments: Sequence[object],
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path = PROJECT,
        log: Path | None = None,
    ) -> "Forked":
        """Call `module:function` in a process of its own, the leader of a group of its own."""
        order = {
            "call": function,
            "arguments": list(arguments),
            "environment": dict(os.environ if environment is None else environment),
            "folder": str(folder),
            "log": str(log or self._log),
        }
        return Forked(self, int(self.ask(order)))

    def ask(self, order: Mapping[str, object]) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, self._log.read_text()
        return json.loads(line)


class Forked:
    """One such process, as `subprocess.Popen` shows its own; the server reaps it."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self._server = server
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, None while it runs; the negative number of the signal that ended it."""
        if self.returncode is None:
            self.returncode = self._server.ask({"look": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has one. Raises: subprocess.TimeoutExpired."""
        if self.returncode is not None:
            return self.returncode
        watch = select.poll()
        descriptor = os.pidfd_open(self.pid)
        try:
            watch.register(descriptor, select.POLLIN)
            if not watch.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired("a fork", timeout or 0.0)
        finally:
            os.close(descriptor)
        while (code := self.poll()) is None:
            pass
        return code

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)


@pytest.fixture(scope="session")
def fork_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """The one of the session."""
    server = ForkServer(tmp_path_factory.mktemp("forks") / "forks.log")
    yield server
    server.close()


# In the server


def main() -> None:
    for name in IMPORTED:
        import_module(name)
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        order = json.loads(line)
        if "call" in order:
            answer: int | None = _forked(order)
        else:
            found, status = os.waitpid(order["look"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if found else None
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _forked(order: Mapping[str, Any]) -> int:
    child = os.fork()
    if child:
        with suppress(PermissionError, ProcessLookupError):  # it has done so itself, or is over
            os.setpgid(child, child)  # before anybody is told of it, who may kill the group
        return child
    code = 70
    try:
        _begin(order)
        module, _, name = order["call"].partition(":")
        code = int(getattr(import_module(module), name)(*order["arguments"]) or 0)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except Exception:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _begin(order: Mapping[str, Any]) -> None:
    """As a new process has it: its own group, nothing inherited but the code."""
    os.setpgid(0, 0)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.closerange(3, 256)
    sys.stdin = open(0, closefd=False)
    sys.stdout = open(1, "w", closefd=False)
    sys.stderr = open(2, "w", closefd=False)


if __name__ == "__main__":
    main()
