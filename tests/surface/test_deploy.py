"""What is shipped for operators: the systemd unit and gunicorn's own file keep their promises."""

import runpy
from configparser import ConfigParser
from pathlib import Path
from types import SimpleNamespace

import uvicorn

from datasync.api.connections import Connection
from datasync.app import STOP_SECONDS, refused
from datasync.errors import ConfigurationError

ROOT = Path(__file__).parents[2]


def test_systemd_does_not_start_again_over_bad_settings() -> None:
    unit = ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(ROOT / "deploy" / "datasync.service")
    service = unit["Service"]
    assert service["Restart"] == "on-failure"
    assert int(service["RestartPreventExitStatus"]) == refused(ConfigurationError("X is bad"))
    assert int(service["TimeoutStopSec"]) > STOP_SECONDS


def test_gunicorn_gives_its_workers_time_to_stop_and_plain_sockets() -> None:
    settings = runpy.run_path(str(ROOT / "gunicorn.conf.py"))
    assert settings["graceful_timeout"] > STOP_SECONDS
    plain = object()
    worker = SimpleNamespace(
        sockets=[SimpleNamespace(sock=plain), plain], config=uvicorn.Config("server:app")
    )
    settings["post_worker_init"](worker)
    assert worker.sockets == [plain, plain]
    worker.config.load()
    assert worker.config.http_protocol_class is Connection
