"""Log lines: safe to read, free of secrets, written whatever happens to the disk."""

import json
import logging
import multiprocessing
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datasync.utils import log_file, logger
from datasync.utils.logger import (
    bind_request,
    close_logging,
    configure_logging,
    escape_key,
    get_logger,
    log_many,
)

FORGERY = "a.txt\n2026-01-01T00:00:00.000Z INFO     forged\r\x1b[31m\u202e\u2028\x85\x00"


@pytest.fixture(autouse=True)
def quiet_after() -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    names = (*logger.QUIET, *logger.ADOPTED)
    levels = {name: logging.getLogger(name).level for name in names}
    yield
    close_logging()
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


def lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


def objects(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(path)]


class TestEscapes:
    @pytest.mark.parametrize(
        ("key", "shown"),
        [
            ("plain/Grüße 東京.txt", "plain/Grüße 東京.txt"),
            ("a\nb", "a\\x0ab"),
            ("\x1b[31m", "\\x1b[31m"),
            ("\u202e\u2028", "\\u202e\\u2028"),
            ("a\\nb", "a\\\\nb"),
            ("\udcff", "\\udcff"),
            ("\U000e0001", "\\U000e0001"),
        ],
    )
    def test_what_is_not_printable_is_escaped(self, key: str, shown: str) -> None:
        assert escape_key(key) == shown
        assert shown.isprintable()

    @pytest.mark.parametrize("form", ["console", "json"])
    def test_no_field_or_message_forges_a_line(self, form: str, tmp_path: Path) -> None:
        configure_logging("INFO", tmp_path / "a.log", form)
        log = get_logger("test")
        log.info(FORGERY, key=FORGERY, **{FORGERY: {FORGERY: [FORGERY]}})
        logging.getLogger("library").warning("library says %s", FORGERY)
        with bind_request(request_id=FORGERY):
            log.info("bound")
        raw = (tmp_path / "a.log").read_bytes()
        assert raw.count(b"\n") == 3
        assert all(line.isprintable() for line in raw.decode().split("\n"))

    def test_a_traceback_cannot_forge_a_line(self, tmp_path: Path) -> None:
        configure_logging("INFO", tmp_path / "a.log")
        try:
            raise ValueError(FORGERY)
        except ValueError:
            get_logger("test").exception("failed", key="k")
        first, *others = (tmp_path / "a.log").read_text().rstrip("\n").split("\n")
        assert "failed" in first and "key=k" in first
        assert "ValueError" in "".join(others)
        assert all(line.startswith("    | ") and line.isprintable() for line in others)

    def test_json_gives_the_key_back(self, tmp_path: Path) -> None:
        configure_logging("INFO", tmp_path / "a.log", "json")
        get_logger("test").info("outcome", key=FORGERY)
        (line,) = objects(tmp_path / "a.log")
        assert (line["key"], line["event"], line["logger"]) == (FORGERY, "outcome", "test")
        assert line["level"] == "info"


class TestSecrets:
    @pytest.mark.parametrize("form", ["console", "json"])
    def test_known_secrets_are_masked_wherever_they_are(self, form: str, tmp_path: Path) -> None:
        configure_logging("DEBUG", tmp_path / "a.log", form, secrets=["hush/hush+", "xy"])
        log = get_logger("test")
        log.info("said hush/hush+", text="it is hush/hush+!", deep={"a": ["hush/hush+"]})
        log.info("quoted hush%2Fhush%2B", value=Path("/hush/hush+"))
        logging.getLogger("library").error("bad %s", "hush/hush+")
        try:
            raise ValueError("hush/hush+")
        except ValueError:
            log.exception("failed")
        text = (tmp_path / "a.log").read_text()
        assert "hush" not in text
        assert text.count("[redacted]") >= 6

    @pytest.mark.parametrize(
        "name",
        ["password", "AWS_SECRET_ACCESS_KEY", "X-Api-Key", "authorization", "Cookie", "api_keys"],
    )
    def test_secret_looking_fields_are_masked(self, name: str, tmp_path: Path) -> None:
        configure_logging("INFO", tmp_path / "a.log", "json")
        get_logger("test").info("request", headers={name: "hush"}, **{name: "hush"})
        assert "hush" not in (tmp_path / "a.log").read_text()

    def test_keys_of_objects_are_no_secrets(self, tmp_path: Path) -> None:
        configure_logging("INFO", tmp_path / "a.log", "json")
        get_logger("test").info("outcome", key="a", file_key="b", keys=3)
        (line,) = objects(tmp_path / "a.log")
        assert (line["key"], line["file_key"], line["keys"]) == ("a", "b", 3)

    @pytest.mark.parametrize(
        "text",
        [
            "http://me:hush@host/x",
            "https://host/?X-Amz-Signature=hush&x=1",
            "x-amz-security-token=hush",
            "Authorization: Bearer hush",
            "Credential=x, Signature=hush",
        ],
    )
    def test_well_known_forms_are_masked(self, text: str, tmp_path: Path) -> None:
        configure_logging("INFO", tmp_path / "a.log")
        get_logger("test").info(text)
        assert "hush" not in (tmp_path / "a.log").read_text()

    def test_debug_does_not_open_the_aws_clients(self, tmp_path: Path) -> None:
        logging.getLogger("botocore").setLevel(logging.DEBUG)
        configure_logging("DEBUG", tmp_path / "a.log")
        for name in ("botocore.auth", "boto3", "urllib3.connectionpool", "s3transfer", "awscrt"):
            logging.getLogger(name).debug("hush")
            logging.getLogger(name).info("hush")
            logging.getLogger(name).warning("warned")
        text = (tmp_path / "a.log").read_text()
        assert "hush" not in text
        assert text.count("warned") == 5


class TestWhere:
    def test_before_configuration_warnings_go_to_stderr(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        log = get_logger("test")
        log.info("not shown")
        log.warning("shown")
        out, err = capsys.readouterr()
        assert out == ""
        assert "shown" in err and "not shown" not in err

    def test_stderr_and_file_get_the_same_lines(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        configure_logging("INFO", tmp_path / "logs" / "a.log")
        get_logger("test").info("one", n=1)
        logging.getLogger("uvicorn.error").info("two")
        assert capsys.readouterr().err == (tmp_path / "logs" / "a.log").read_text()
        assert len(lines(tmp_path / "logs" / "a.log")) == 2

    def test_stderr_may_be_quieter(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        configure_logging("INFO", tmp_path / "a.log", stderr_level="WARNING")
        get_logger("test").info("low")
        get_logger("test").warning("high")
        assert len(lines(tmp_path / "a.log")) == 2
        assert "low" not in capsys.readouterr().err

    def test_the_level_holds_for_loggers_made_before(self, tmp_path: Path) -> None:
        log = get_logger("test")
        configure_logging("ERROR", tmp_path / "a.log")
        log.warning("low")
        log_many("test", "warning", [{"event": "low"}])
        configure_logging("DEBUG", tmp_path / "a.log")
        log.debug("high")
        assert [line.split()[2] for line in lines(tmp_path / "a.log")] == ["high"]

    def test_servers_bring_no_handlers_of_their_own(self, tmp_path: Path) -> None:
        own = logging.StreamHandler(sys.stderr)
        logging.getLogger("uvicorn").addHandler(own)
        configure_logging("INFO", tmp_path / "a.log")
        configure_logging("INFO", tmp_path / "a.log")
        logging.getLogger("uvicorn").info("once")
        assert logging.getLogger("uvicorn").handlers == []
        assert len(lines(tmp_path / "a.log")) == 1

    def test_context_reaches_libraries_too(self, tmp_path: Path) -> None:
        configure_logging("INFO", tmp_path / "a.log", "json")
        with bind_request(request_id="r1"):
            get_logger("test").info("ours")
            logging.getLogger("library").info("theirs")
        get_logger("test").info("after")
        assert [line.get("request_id") for line in objects(tmp_path / "a.log")] == [
            "r1",
            "r1",
            None,
        ]

    def test_many_lines_are_written_at_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        configure_logging("INFO", tmp_path / "a.log", "json")
        written: list[str] = []
        file = logger._state.file
        assert file is not None
        monkeypatch.setattr(file, "do_write", written.append)
        log_many("engine", "info", [{"event": "outcome", "key": f"k\n{n}"} for n in range(500)])
        (text,) = written
        found = [json.loads(line) for line in text.split("\n")]
        assert [line["key"] for line in found] == [f"k\n{n}" for n in range(500)]
        assert {line["logger"] for line in found} == {"engine"}


class TestDisk:
    def test_a_log_file_that_cannot_be_written_is_told_once(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "file").write_text("")
        configure_logging("INFO", tmp_path / "file" / "a.log")
        for number in range(3):
            get_logger("test").info("line", number=number)
        err = capsys.readouterr().err
        assert err.count("LOG_FILE cannot be written") == 1
        assert err.count("line logger=test") == 3

    def test_a_full_disk_does_not_stop_the_service_and_is_left_behind(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(log_file, "RETRY_SECONDS", 0.0)
        target = tmp_path / "a.log"
        target.symlink_to("/dev/full")
        configure_logging("INFO", target)
        get_logger("test").info("lost")
        get_logger("test").info("lost too")
        target.unlink()
        get_logger("test").info("kept")
        err = capsys.readouterr().err
        assert err.count("LOG_FILE cannot be written") == 1
        assert "No space left" in err
        assert [line.split()[2] for line in lines(target)] == ["kept"]

    def test_a_closed_stderr_stops_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        configure_logging("INFO", tmp_path / "a.log")
        with open(tmp_path / "gone", "w") as gone:
            monkeypatch.setattr(sys, "stderr", gone)
        get_logger("test").info("still here")
        assert len(lines(tmp_path / "a.log")) == 1

    def test_rotation_by_several_processes_loses_no_line(self, tmp_path: Path) -> None:
        context = multiprocessing.get_context("spawn")
        workers = [
            context.Process(target=_write_lines, args=(tmp_path / "a.log", name))
            for name in ("one", "two", "three")
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
        assert [worker.exitcode for worker in workers] == [0, 0, 0]
        files = list(tmp_path.glob("a.log*"))
        assert len(files) > 3
        found = {(line["who"], line["n"]) for file in files for line in objects(file)}
        assert found == {(name, n) for name in ("one", "two", "three") for n in range(300)}
        assert {file.name for file in tmp_path.glob(".*")} == {".__a.lock"}


def test_a_line_that_comes_after_the_end_opens_nothing(tmp_path: Path) -> None:
    configure_logging("INFO", tmp_path / "a.log")
    get_logger("test").info("before")
    file = logger._state.file  # what another thread still has in its hand
    assert file is not None
    close_logging()

    file.write("after\n")

    assert file.stream is None
    assert len(lines(tmp_path / "a.log")) == 1


def test_the_end_goes_back_to_warnings(tmp_path: Path) -> None:
    configure_logging("CRITICAL", tmp_path / "a.log")
    close_logging()
    assert logging.getLogger("test.library").isEnabledFor(logging.WARNING)


def _write_lines(path: Path, who: str) -> None:
    log_file.FILE_BYTES, log_file.FILE_COUNT = 20_000, 50
    with open("/dev/null", "w") as sys.stderr:
        configure_logging("INFO", path, "json")
        for number in range(300):
            get_logger("test").info("line", who=who, n=number)
        close_logging()
