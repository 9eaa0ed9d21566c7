"""The service as its users run it: a process of its own, told what to do by the environment."""

import json
import os
import signal
import subprocess
from contextlib import suppress
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from tests.support.fork_server import Forked, ForkServer
from tests.support.s3_server import S3Server
from tests.support.servers import free_ports
from tests.support.world import eventually

PROJECT = Path(__file__).parents[2]


class ServiceProcess:
    """One start of the service; `command` defaults to `datasync serve`, API_PORT to a free one."""

    def __init__(
        self,
        server: S3Server,
        bucket: str,
        folder: Path,
        command: Sequence[str] = ("-m", "datasync", "serve"),
        **environment: str,
    ) -> None:
        self.folder = folder
        self.root = folder / "mirror"
        self.port = int(environment.get("API_PORT") or free_ports(1)[0])
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "service.log"
        self.variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(PROJECT),
            "S3_BUCKET_NAME": bucket,
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
            "AWS_ENDPOINT_URL_S3": server.endpoint_url,
            "LOCAL_DOWNLOAD_DIR": str(self.root),
            "API_HOST": "127.0.0.1",
            "API_PORT": str(self.port),
            "LOG_FILE": "",
            **environment,
        }
        self.started = datetime.now(UTC)
        self.process = self._start(command)

    def _start(self, command: Sequence[str]) -> "subprocess.Popen[bytes] | Forked":
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *(part.format(port=self.port) for part in command)],
                cwd=self.folder,
                env=self.variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def __enter__(self) -> "ServiceProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def wait_until_up(self) -> None:
        eventually(self._up, 30)

    def _up(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx.get(f"{self.url}/ping", trust_env=False, verify=False).status_code == 200
        except httpx.TransportError:
            return False

    def get(self, path: str, **more: Any) -> Any:
        return httpx.get(
            f"{self.url}{path}", trust_env=False, verify=False, timeout=30, **more
        ).json()

    def post(self, path: str, **more: Any) -> Any:
        return httpx.post(
            f"{self.url}{path}", trust_env=False, verify=False, timeout=120, **more
        ).json()

    def datasync(self, *arguments: str) -> Any:
        """The JSON that a `datasync` command prints, run beside the service."""
        done = subprocess.run(
            [sys.executable, "-m", "datasync", *arguments, "--json"],
            cwd=self.folder,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    def in_sync(self) -> bool:
        return bool(self.get("/sync/health")["in_sync"])

    def caught_up(self) -> bool:
        """In sync, and proved so by a run of this start: an earlier one knew less of the bucket."""
        runs = self.get("/sync/runs?limit=5")["runs"]
        ended = [run["started"] for run in runs if run["status"] == "success"]
        ours = [at for at in ended if datetime.fromisoformat(at) >= self.started]
        return bool(ours) and self.in_sync()

    def kill(self) -> None:
        """End it and its children as a power switch would."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def terminate(self, timeout_seconds: float = 15.0) -> int:
        """SIGTERM, as systemd and Docker do it; the exit code."""
        self.process.terminate()
        return self.process.wait(timeout_seconds)

    def staged(self) -> list[Path]:
        """Staging files of objects (not the marks of who owns them)."""
        staging = self.root / ".datasync" / "staging"
        return [path for path in staging.glob("*") if path.suffix != ".owner"]

    def largest_staged(self) -> int:
        """The bytes of the largest of them; the proof that the disk can be written has one."""
        sizes = [0]
        for path in self.staged():
            with suppress(FileNotFoundError):
                sizes.append(path.stat().st_size)
        return max(sizes)

    def files(self) -> dict[str, bytes]:
        """What a reader of the folder sees now; a file that is replaced meanwhile is read whole."""
        found = {}
        for path, folders, names in os.walk(self.root):
            if Path(path) == self.root and ".datasync" in folders:
                folders.remove(".datasync")
            for name in names:
                file = Path(path) / name
                found[str(file.relative_to(self.root))] = file.read_bytes()
        return found


class ForkedService(ServiceProcess):
    """`datasync serve` in a fork of a process that has imported it already."""

    def __init__(
        self,
        forks: ForkServer,
        server: S3Server,
        bucket: str,
        folder: Path,
        **environment: str,
    ) -> None:
        self._forks = forks
        super().__init__(server, bucket, folder, **environment)

    def _start(self, _command: Sequence[str]) -> Forked:
        return self._forks.start(
            "datasync.cli:main",
            [["serve"]],
            environment=self.variables,
            folder=self.folder,
            log=self.log,
        )
