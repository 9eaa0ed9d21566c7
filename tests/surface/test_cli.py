"""The names of the command line: commands, options, exit codes, entry points. A user's scripts
depend on each of them."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

import datasync
from datasync import app as service
from datasync.cli import exits, main
from datasync.cli.entry import app, run_command
from datasync.cli.examples import EXAMPLES
from datasync.composition import compose
from datasync.config.loading import load_settings
from datasync.config.settings import Settings
from datasync.errors import (
    AccessDenied,
    ConfigurationError,
    DataSyncError,
    LeaseHeld,
    LedgerBusy,
    MalformedRequest,
    RunMissing,
    RunNotHeld,
)
from datasync.models.sync_models import Run, RunKind, RunStatus
from tests.support.command_line import use_settings
from tests.support.servers import free_ports

ROOT = Path(__file__).parents[2]

COMMANDS = {
    "serve": {"--host", "--port", "--demo-if-unconfigured", "--adopt"},
    "demo": {"--port"},
    "sync": {"--prefix", "--dry-run", "--adopt", "--json"},
    "plan": {"--prefix", "--limit", "--json"},
    "verify": {"--prefix", "--json"},
    "status": {"--json"},
    "files": {"--prefix", "--limit", "--token", "--state", "--s3", "--json"},
    "failures": {"--prefix", "--limit", "--token", "--json"},
    "retry": {"--json"},
    "runs": {"--limit", "--json"},
    "approve": {"--json"},
    "cancel": {"--json"},
    "trash": set[str](),
    "trash list": {"--prefix", "--why", "--limit", "--json"},
    "trash restore": {"--prefix", "--run", "--why", "--overwrite", "--json"},
    "demo put": set[str](),
    "demo env": set[str](),
    "doctor": {"--canary", "--timeout", "--json"},
    "top": {"--once", "--json"},
    "config": set[str](),
    "config check": {"--json"},
    "config show": {"--changed", "--json"},
    "logs": {"--lines", "--follow", "--level", "--match"},
    "keys": set[str](),
    "keys new": {"--role", "--json"},
    "keys list": {"--json"},
    "lambda": set[str](),
    "lambda package": {"--output"},
}


def _options() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}

    def visit(group: TyperGroup, above: str) -> None:
        for name, command in group.commands.items():
            options = (option for each in command.params for option in each.opts)
            found[above + name] = {option for option in options if option.startswith("--")}
            if isinstance(command, TyperGroup):
                visit(command, f"{name} ")

    root = get_command(app)
    assert isinstance(root, TyperGroup)
    visit(root, "")
    return found


def test_the_options_of_all_commands() -> None:
    names = {option for each in get_command(app).params for option in each.opts}
    assert {name for name in names if name.startswith("--")} == {
        "--version",
        "--url",
        "--install-completion",
        "--show-completion",
    }


def test_the_commands_and_their_options() -> None:
    assert _options() == COMMANDS


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([*command.split(), "--help"]) == 0
    assert "Usage: datasync" in capsys.readouterr().out


@pytest.mark.parametrize("command", EXAMPLES)
def test_the_example_of_a_command_is_one_that_it_takes(command: str) -> None:
    words = shlex.split(re.sub(r'^eval "\$\((.*)\)"$', r"\1", EXAMPLES[command]))
    ended = [number for number, word in enumerate(words) if word in ("&&", "||")]
    name, *left = words[: ended[0]] if ended else words
    assert " ".join(left).startswith(command)
    taker = get_command(app)
    context = taker.make_context(name, list(left))
    while isinstance(taker, TyperGroup):
        _, found, left = taker.resolve_command(context, left)
        assert found is not None
        taker, context = found, found.make_context(found.name, list(left), parent=context)


@pytest.mark.parametrize(
    "words, offered", [("datasync tr", "trash"), ("datasync files --state sta", "stale")]
)
def test_the_shell_completes_commands_and_values(words: str, offered: str) -> None:
    """As bash asks, in an empty environment: completing reads no settings."""
    done = subprocess.run(
        [sys.executable, "-m", "datasync"],
        env={
            "_DATASYNC_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout.split(), done.stderr) == ([offered], "")


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["--version"]) == 0
    assert capsys.readouterr().out == f"datasync {datasync.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["sync", "--nonsense"],
        ["runs", "one"],
        ["approve"],
        ["files", "--limit", "0"],
        ["files", "--state", "nonsense"],
        ["trash"],
        ["trash", "restore"],
        ["trash", "restore", "entry", "--prefix", "a"],
        ["trash", "restore", "entry", "--run", "1"],
        ["trash", "restore", "--run", "1", "--why", "events"],
        ["serve", "--port", "70000"],
    ],
)
def test_wrong_usage_exits_with_64(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(arguments) == 64
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "datasync" in captured.err
    assert "Traceback" not in captured.err


def test_no_command_at_all_gets_the_help_and_64(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([]) == 64
    assert "Usage: datasync" in capsys.readouterr().out


def test_the_exit_codes_are_what_scripts_rely_on() -> None:
    codes = (exits.DONE, exits.FAILED, exits.REFUSED, exits.USAGE)
    assert codes == (0, 1, 2, 64)
    assert (exits.INTERRUPTED, exits.TERMINATED, exits.PIPE_CLOSED) == (130, 143, 141)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (RunStatus.SUCCESS, 0),
        (RunStatus.PARTIAL, 1),
        (RunStatus.FAILED, 1),
        (RunStatus.CANCELLED, 1),
        (RunStatus.INTERRUPTED, 1),
        (RunStatus.HELD, 2),
    ],
)
def test_how_a_run_ended_is_the_exit_code(status: RunStatus, code: int) -> None:
    run = Run(1, RunKind.RECONCILE, "", status, 0.0)
    assert exits.exit_code_of(run) == code
    assert exits.exit_code_of(run, failing=1) == (code or 1)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError(""), 2),
        (LeaseHeld(""), 2),
        (RunMissing(""), 2),
        (RunNotHeld(""), 2),
        (MalformedRequest(""), 2),
        (AccessDenied(""), 1),
        (LedgerBusy(""), 1),
    ],
)
def test_refusals_exit_with_2_and_failures_with_1(error: DataSyncError, code: int) -> None:
    assert exits.exit_code_of_error(error) == code


# -- entry points --------------------------------------------------------------------------------


def _start(
    arguments: Sequence[str], folder: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_console_script_is_the_main_of_the_package() -> None:
    assert callable(main)
    assert 'datasync = "datasync.cli:main"' in (ROOT / "pyproject.toml").read_text()


def test_python_m_datasync_works_in_an_empty_environment_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    ran = _start(["-m", "datasync", "--version"], tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("datasync ")
    assert list(tmp_path.iterdir()) == []


# What no command needs that neither serves nor brings a ledger up to date.
HEAVY = {"fastapi", "starlette", "uvicorn", "httpx", "cryptography", "botocore", "ministack"} | {
    *("alembic", "psycopg", "sqlalchemy.dialects.postgresql", "awscrt", "concurrent_log_handler"),
}


@pytest.mark.parametrize(
    "arguments, absent",
    [
        (["--version"], HEAVY | {"sqlalchemy", "pycurl"}),
        (["--help"], HEAVY | {"sqlalchemy", "pycurl"}),
        (["sync", "--help"], HEAVY | {"sqlalchemy", "pycurl"}),
        (["sync", "--nonsense"], HEAVY | {"sqlalchemy", "pycurl"}),
        # A new ledger is made without Alembic.
        (["status"], HEAVY | {"boto3"}),
        (["sync"], HEAVY | {"boto3"}),
        # A service elsewhere is asked over HTTP, and nothing of it is here.
        (
            ["--url", "http://127.0.0.1:1", "status"],
            (HEAVY - {"httpx"}) | {"sqlalchemy", "pycurl", "boto3", "pydantic_settings"},
        ),
    ],
)
def test_a_command_imports_only_what_it_needs(
    arguments: list[str], absent: set[str], tmp_path: Path
) -> None:
    code = (
        "import sys\n"
        "from datasync.cli.entry import run_command\n"
        f"run_command({arguments!r})\n"
        f"print('imported:', sorted({absent!r} & set(sys.modules)))\n"
    )
    settings = {"S3_BUCKET_NAME": "my-bucket", "AWS_NO_SIGN_REQUEST": "true"}
    settings |= {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{free_ports(1)[0]}",
        "LOG_FILE": "",
        "RETRY_ATTEMPTS": "1",
    }
    ran = _start(["-c", code], tmp_path, **settings)
    assert ran.stdout.splitlines()[-1:] == ["imported: []"], ran.stdout + ran.stderr


def test_without_a_bucket_a_command_says_what_is_missing(tmp_path: Path) -> None:
    ran = _start(["-m", "datasync", "status"], tmp_path)
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr == "datasync: S3_BUCKET_NAME is required. Example: S3_BUCKET_NAME=my-bucket\n"
    assert "Traceback" not in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_goes_away_ends_the_command_without_a_word(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from datasync.cli.terminal import Column, print_table\n"
        "from datasync.cli import entry\n"
        "def lines():\n"
        "    print_table((Column('n'),), ((n,) for n in range(10**6)))\n"
        "entry.app.command()(lines)\n"
        "sys.exit(entry.run_command(['lines']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "0\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(30) == exits.PIPE_CLOSED


# -- serve and demo ------------------------------------------------------------------------------


class _Started:
    """Takes the place of what would run until it is stopped."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.served: list[Settings] = []
        self.demos: list[int | None] = []
        monkeypatch.setattr(service, "serve", self._serve)
        monkeypatch.setattr("datasync.demo.run_demo", self.demos.append)

    def _serve(self, settings: Settings) -> int:
        self.served.append(settings)
        return 0


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> _Started:
    use_settings(monkeypatch, tmp_path, S3_BUCKET_NAME="")
    return _Started(monkeypatch)


def test_serve_takes_host_and_port_over_the_settings(
    started: _Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S3_BUCKET_NAME", "my-bucket")
    monkeypatch.setenv("API_PORT", "9999")
    assert run_command(["serve", "--host", "127.0.0.1", "--port", "8001"]) == 0
    assert run_command(["serve", "--demo-if-unconfigured"]) == 0
    assert [(each.api_host, each.api_port) for each in started.served] == [
        ("127.0.0.1", 8001),
        ("0.0.0.0", 9999),
    ]
    assert started.demos == []


def test_serve_without_a_bucket_is_refused_or_becomes_the_demo(
    started: _Started, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["serve"]) == 2
    assert "S3_BUCKET_NAME" in capsys.readouterr().err
    assert run_command(["serve", "--demo-if-unconfigured", "--port", "8002"]) == 0
    assert started.served == []
    assert started.demos == [8002]


def test_a_bucket_in_the_env_file_is_a_bucket(started: _Started) -> None:
    Path(".env").write_text("S3_BUCKET_NAME=from-file\n")
    assert run_command(["serve", "--demo-if-unconfigured"]) == 0
    assert [each.s3_bucket_name for each in started.served] == ["from-file"]


def test_serve_adopt_takes_the_directory_over_before_it_serves(
    started: _Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, adopt in (("first-bucket", False), ("second-bucket", True)):
        monkeypatch.setenv("S3_BUCKET_NAME", name)
        assert run_command(["serve", "--adopt"] if adopt else ["status"]) == (0 if adopt else 1)
    compose(load_settings()).close()  # it is the second one's directory now
    assert [each.s3_bucket_name for each in started.served] == ["second-bucket"]


def test_demo_starts_the_demo(started: _Started) -> None:
    assert run_command(["demo"]) == 0
    assert started.demos == [None]


def test_demo_put_names_what_it_put(
    started: _Started, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("datasync.demo.put_object", lambda _key, content: len(content))
    assert run_command(["demo", "put", "hello\x1b.txt", "Hello"]) == 0
    assert capsys.readouterr().out == "Put hello\\x1b.txt (5 B) into the demo's bucket.\n"
    assert started.demos == []


def test_demo_put_without_a_demo_is_refused(
    started: _Started, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert run_command(["demo", "put", "a", "b"]) == 2
