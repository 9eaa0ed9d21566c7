"""Starting a server program for the tests: free loopback ports, a log, readiness, a sure end."""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

NAP_SECONDS = 0.05


def free_ports(count: int) -> list[int]:
    """So many different ports of 127.0.0.1 that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class ServerProcess:
    """A server as a child process whose output goes to a log in its own folder.

    `leftovers` are files outside of it that the server may leave behind.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        leftovers: Sequence[Path] = (),
    ) -> None:
        self._leftovers = leftovers
        self._log = folder / "server.log"
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env={"PATH": os.defpath, "HOME": str(folder), **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait for the server to be ready. Raises: RuntimeError with the log's end."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                end = self._log.read_text(errors="replace")[-4000:]
                self.stop()
                raise RuntimeError(f"the server is not ready:\n{end}")
            time.sleep(NAP_SECONDS)

    def stop(self) -> None:
        """End the process at once: nothing it holds is worth waiting for."""
        self._process.kill()
        self._process.wait()
        for path in self._leftovers:
            path.unlink(missing_ok=True)


def listens_beyond_loopback(pid: int) -> list[str]:
    """Listening TCP addresses of a process that are not 127.0.0.1, as the kernel writes them."""
    links = [os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir() if each.is_symlink()]
    inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
    rows = [line.split() for name in ("tcp", "tcp6") for line in _table(pid, name)]
    listening = [row[1] for row in rows if row[3] == "0A" and row[9] in inodes]
    return [address for address in listening if not address.startswith("0100007F:")]


def _table(pid: int, name: str) -> list[str]:
    path = Path(f"/proc/{pid}/net/{name}")
    return path.read_text().splitlines()[1:] if path.exists() else []
