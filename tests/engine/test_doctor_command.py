"""`datasync doctor` as a command: its lines, its document, its exit codes, and what it leaves."""

from pathlib import Path

import pytest


from datasync.cli.entry import run_command
from datasync.config.settings import Settings
from datasync.doctor import visit as visits
from datasync.doctor.findings import Finding, Line, Tell, failed, passed, skipped, warned
from tests.support.command_line import Ran, use_settings
from tests.support.servers import free_ports

NAMES = {
    *("settings", "access", "log file", "credentials"),
    *("server", "clock", "list", "region", "read", "checksums", "attributes", "notifications"),
    *("directory", "mirror", "space", "inodes", "one disk", "rename", "flush", "locks", "names"),
    *("letter case", "file times", "ledger", "service", "health", "lease", "queue"),
}
OF_A_QUEUE = {f"queue {name}" for name in ("receive", "delete", "hide")}
OF_A_QUEUE |= {"queue visibility", "queue redrive", "queue backlog", "dead letters"}
HOSTILE = "bad[red]\x1b[31m\n\u202ekey"


class Doctor:
    """Runs the command; nobody answers at the S3 endpoint and at API_PORT."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Ran:
        code = run_command(["doctor", *arguments])
        captured = self._capsys.readouterr()
        return Ran(code, captured.out, captured.err)


@pytest.fixture
def doctor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Doctor:
    s3, api = free_ports(2)
    use_settings(
        monkeypatch,
        tmp_path,
        AWS_ENDPOINT_URL_S3=f"http://127.0.0.1:{s3}",
        AWS_ACCESS_KEY_ID="AKIAEXAMPLE",
        AWS_SECRET_ACCESS_KEY="secret/of/the/key",
        API_PORT=str(api),
        NO_PROXY="127.0.0.1",
        no_proxy="127.0.0.1",
    )
    return Doctor(capsys)


def rows(ran: Ran) -> dict[str, list[str]]:
    """Level, text and advice of each line, by the check's name."""
    found = [line.split("\t") for line in ran.out.splitlines()]
    assert all(len(row) == 4 for row in found), ran.out
    return {name: [level, text, advice] for level, name, text, advice in found}


def test_each_check_is_one_line_and_a_failure_is_the_exit_code(
    doctor: Doctor, tmp_path: Path
) -> None:
    ran = doctor()
    assert ran.code == 1
    found = rows(ran)
    assert set(found) == NAMES
    assert len(ran.out.splitlines()) == len(NAMES)
    assert found["server"][0] == "fail"
    assert found["list"] == ["skip", "'server' failed", ""]
    assert found["service"][0] == "warn"
    assert found["service"][2] == "Start it: datasync serve."
    assert found["queue"] == ["skip", "SQS_QUEUE_URL is not set", ""]
    assert all(advice for level, _, advice in found.values() if level in ("warn", "fail"))
    levels = [level for level, _, _ in found.values()]
    assert (
        ran.err
        == ", ".join(
            f"{levels.count(level)} {word}"
            for level, word in zip(
                ("pass", "warn", "fail", "skip"),
                ("passed", "warned", "failed", "skipped"),
                strict=True,
            )
        )
        + "\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_one_document_with_json(doctor: Doctor, tmp_path: Path) -> None:
    ran = doctor("--json")
    assert (ran.code, ran.err) == (1, "")
    assert ran.json["status"] == "fail"
    checks = {check.pop("name"): check for check in ran.json["checks"]}
    assert set(checks) == NAMES
    assert checks["mirror"]["level"] == "pass"
    assert set(checks["mirror"]) == {"level", "found", "advice", "seconds"}
    assert list(tmp_path.iterdir()) == []


def test_a_queue_has_its_own_checks(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQS_QUEUE_URL", "http://127.0.0.1:1/000000000000/events")
    found = rows(doctor())
    assert set(found) == NAMES | OF_A_QUEUE
    assert found["queue"][0] == "fail"
    assert {found[name][0] for name in OF_A_QUEUE} == {"skip"}


def test_a_canary_is_not_put_where_nothing_could_bring_it(doctor: Doctor) -> None:
    ran = doctor("--canary")
    found = rows(ran)
    assert ran.code == 1
    assert found["service"][0] == "fail"
    assert found["canary put"] == ["skip", "'server' is not as the canary needs it", ""]


def test_no_secret_is_shown(doctor: Doctor) -> None:
    for arguments in ((), ("--json",)):
        ran = doctor(*arguments)
        assert "secret/of/the/key" not in ran.out + ran.err
        assert "AKIAEXAMPLE" not in ran.out + ran.err


def test_settings_that_cannot_be_read_exit_with_2(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_PORT", "many")
    ran = doctor()
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("datasync: API_PORT must be a whole number")


@pytest.mark.parametrize("arguments", [["--timeout", "0"], ["--timeout", "soon"], ["now"]])
def test_wrong_usage(doctor: Doctor, arguments: list[str]) -> None:
    assert doctor(*arguments).code == 64


# -- how findings are shown ----------------------------------------------------------------------


class Findings:
    """Takes the place of a visit, to say exactly what it should find."""

    def __init__(self, *lines: Line, interrupted: bool = False) -> None:
        self._lines = lines
        self._interrupted = interrupted
        self.seconds: list[float | None] = []

    def __call__(self, _settings: Settings, tell: Tell, canary_seconds: float | None) -> None:
        self.seconds.append(canary_seconds)
        for line in self._lines:
            tell(line)
        if self._interrupted:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    "findings, code, status",
    [
        ([passed("a"), skipped("b")], 0, "pass"),
        ([passed("a"), warned("b", "c")], 0, "warn"),
        ([warned("a", "b"), failed("c", "d")], 1, "fail"),
    ],
)
def test_the_worst_finding_is_the_exit_code(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, findings: list[Finding], code: int, status: str
) -> None:
    lines = [Line(f"n{number}", finding) for number, finding in enumerate(findings)]
    monkeypatch.setattr(visits, "visit", Findings(*lines))
    assert doctor().code == code
    ran = doctor("--json")
    assert (ran.code, ran.json["status"]) == (code, status)


def test_what_a_server_says_cannot_steer_the_terminal(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visits, "visit", Findings(Line("read", failed(HOSTILE, HOSTILE))))
    shown = "bad[red]\\x1b[31m\\x0a\\u202ekey"
    ran = doctor()
    assert ran.out == f"fail\tread\t{shown}\t{shown}\n"
    ran = doctor("--json")
    assert ran.out.isascii() and "\x1b" not in ran.out
    assert ran.json["checks"][0]["found"] == HOSTILE


def test_a_line_on_a_terminal(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    lines = Line("list", passed("all [bold]well[/]")), Line("queue redrive", warned("none", "Do."))
    monkeypatch.setattr(visits, "visit", Findings(*lines))
    text = doctor().out
    assert "\x1b[32mpass\x1b[0m  list              all [bold]well[/]\n" in text
    assert "\x1b[33mwarn\x1b[0m  queue redrive     none\x1b[1m -> Do.\x1b[0m\n" in text


def test_the_timeout_is_the_canarys(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Findings()
    monkeypatch.setattr(visits, "visit", found)
    for arguments in ((), ("--canary",), ("--canary", "--timeout", "5")):
        doctor(*arguments)
    assert found.seconds == [None, 30.0, 5.0]


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_ctrl_c_tells_what_could_not_be_removed(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    left = Line("canary left", failed("s3://b/k could not be removed", "Remove it by hand."))
    monkeypatch.setattr(visits, "visit", Findings(Line("a", passed("b")), left, interrupted=True))
    ran = doctor("--canary", *arguments)
    assert ran.code == 130
    assert "s3://b/k could not be removed" in ran.out + ran.err
    assert "Remove it by hand." in ran.out + ran.err
