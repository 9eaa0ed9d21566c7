"""What is shipped for operators: the systemd unit, gunicorn's own file and the pages for operators
keep their promises."""

import re
import runpy
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path
from types import SimpleNamespace

import uvicorn

from datasync.api.connections import Connection
from datasync.api.sessions import FILE
from datasync.app import STOP_SECONDS, refused
from datasync.config.settings import SECRET_FILES, SECRETS, Settings
from datasync.errors import ConfigurationError
from datasync.utils.log_file import FILE_BYTES, FILE_COUNT
from tests.support.programs import needed

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PAGES = [DEPLOY / "README.md", DEPLOY / "docker.md", DEPLOY / "kubernetes" / "README.md"]
OPERATIONS = ROOT / "docs" / "OPERATIONS.md"


def _lines(path: Path) -> list[tuple[str, str]]:
    """Every setting of a unit file in its order: unlike for `ConfigParser`, one may come twice."""
    text = path.read_text(encoding="utf-8")
    found = [line.partition("=") for line in text.splitlines() if re.match(r"[A-Z]\w+=", line)]
    return [(name, value) for name, _, value in found]


def _environment(path: Path) -> dict[str, str]:
    found = [value.partition("=") for name, value in _lines(path) if name == "Environment"]
    return {name: value for name, _, value in found}


class TestSystemd:
    UNIT = DEPLOY / "datasync.service"
    CREDENTIALS = DEPLOY / "credentials.conf"

    def test_it_does_not_start_again_over_bad_settings(self) -> None:
        unit = ConfigParser(strict=False, interpolation=None)
        unit.optionxform = str  # type: ignore[assignment, method-assign]
        unit.read(self.UNIT)
        service = unit["Service"]
        assert service["Restart"] == "on-failure"
        assert int(service["RestartPreventExitStatus"]) == refused(ConfigurationError("X is bad"))
        assert int(service["TimeoutStopSec"]) > STOP_SECONDS

    def test_what_it_may_write_is_where_its_settings_lead(self) -> None:
        given = dict(_lines(self.UNIT))
        places = [Path(place) for place in given["ReadWritePaths"].split()]
        assert given["ProtectSystem"] == "strict"
        for path in _environment(self.UNIT).values():
            assert any(Path(path).is_relative_to(place) for place in places), path
        assert Path(given["WorkingDirectory"]) in places
        never_run = given["NoExecPaths"].split()
        assert {str(place) for place in places} <= set(never_run)
        assert not any(given["ExecStart"].startswith(path) for path in never_run)

    def test_it_may_do_what_the_service_does(self) -> None:
        """Large objects are copied and flushed, events come over the net, helpers by a socket."""
        given = _lines(self.UNIT)
        filters = [value for name, value in given if name == "SystemCallFilter"]
        assert filters == ["@system-service", "~@privileged @resources"]
        assert dict(given)["RestrictAddressFamilies"] == "AF_INET AF_INET6 AF_UNIX"
        assert "PrivateNetwork" not in dict(given)
        # Descriptors are raised by the unit: the service itself may not.
        assert int(dict(given)["LimitNOFILE"]) >= 16_384

    def test_nothing_that_systemd_can_take_away_is_left(self) -> None:
        given = dict(_lines(self.UNIT))
        taken = [name for name in given if name.startswith(("Protect", "Private", "Restrict"))]
        taken.remove("RestrictAddressFamilies")
        wanted = {"true", "strict", "invisible"}
        assert {given[name] for name in taken} <= wanted
        assert len(taken) >= 16
        for name in ("NoNewPrivileges", "MemoryDenyWriteExecute", "LockPersonality", "RemoveIPC"):
            assert given[name] == "true"
        assert (given["CapabilityBoundingSet"], given["AmbientCapabilities"]) == ("", "")

    def test_its_variables_are_settings_and_none_is_secret(self) -> None:
        settings = {name.upper() for name in Settings.model_fields}
        for path in (self.UNIT, self.CREDENTIALS):
            assert set(_environment(path)) <= settings
            assert not set(_environment(path)) & {name.upper() for name in SECRETS}

    def test_each_credential_is_the_file_of_a_setting(self) -> None:
        text = self.CREDENTIALS.read_text(encoding="utf-8").replace("# Load", "Load")
        loaded = re.findall(r"^LoadCredential=(\w+):/etc/datasync/(\w+)$", text, re.MULTILINE)
        named = re.findall(r"^#? ?Environment=(\w+)=%d/(\w+)$", text, re.MULTILINE)
        assert [name for name, _ in loaded] == [file for _, file in loaded]
        assert named == [(f"{name.upper()}_FILE", name) for name, _ in loaded]
        given = {name.lower() for name, _ in named}
        assert given == set(SECRET_FILES) - {"aws_session_token_file"}

    def test_systemd_understands_it_and_finds_it_safe(self, tmp_path: Path) -> None:
        program = needed("systemd-analyze", "it comes with systemd")
        drop_in = tmp_path / "datasync.service.d"
        drop_in.mkdir()
        shutil.copy(self.CREDENTIALS, drop_in)
        # The program is not installed where the unit looks for it; `true` is.
        text = self.UNIT.read_text(encoding="utf-8").replace(
            "/opt/datasync/.venv/bin/datasync serve", str(shutil.which("true"))
        )
        unit = tmp_path / self.UNIT.name
        unit.write_text(text, encoding="utf-8")
        for arguments in (["verify"], ["security", "--offline=true", "--threshold=15"]):
            ran = subprocess.run(
                [program, *arguments, str(unit)],
                capture_output=True,
                text=True,
                timeout=60,
                env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
            )
            assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout


class TestPages:
    def test_their_links_lead_somewhere(self) -> None:
        for page in (*PAGES, OPERATIONS):
            text = page.read_text(encoding="utf-8")
            for link in re.findall(r"\]\((?!http|#)([^)#]+)[^)]*\)", text):
                assert (page.parent / link).exists(), (page.name, link)

    def test_variables_that_they_name_are_settings(self) -> None:
        settings = {name.upper() for name in Settings.model_fields}
        for page in (*PAGES, OPERATIONS):
            for name in re.findall(r"-e ([A-Z_]+)=", page.read_text(encoding="utf-8")):
                assert name in settings, (page.name, name)

    def test_the_rotation_is_that_of_the_service(self) -> None:
        text = OPERATIONS.read_text(encoding="utf-8")
        assert f"each {FILE_BYTES // 2**20} MB" in text
        assert f"`.1` to `.{FILE_COUNT}`" in text

    def test_what_is_named_of_the_mirror_is_what_the_architecture_names(self) -> None:
        architecture = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
        named = set(re.findall(r"^\| `\.datasync/([\w.]+)", architecture, re.MULTILINE))
        (table,) = re.findall(r"Back it up\?.*?\n\n", OPERATIONS.read_text("utf-8"), re.DOTALL)
        assert {FILE, "ledger.db", "trash", "staging", "lease.lock", "wake"} <= named
        for name in named - {"demo", "doctor", "mirror.json"}:
            assert re.search(rf"`(\.datasync/)?{re.escape(name)}\*?`", table), name


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
