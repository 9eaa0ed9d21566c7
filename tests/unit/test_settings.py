"""Settings: where they come from, what is refused and how, what is never shown."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from datasync.config import checks
from datasync.config.loading import load_settings, unknown_variables
from datasync.config.settings import Settings
from datasync.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty environment with the one required setting, in an empty folder."""
    for name in list(os.environ):
        if name.lower() in Settings.model_fields or name.startswith(("AWS_", "S3_", "API_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("S3_BUCKET_NAME", "my-bucket")
    monkeypatch.chdir(tmp_path)


def problem(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    """What the start says of these variables; their names are in lower case here."""
    for name, value in variables.items():
        monkeypatch.setenv(name.upper(), value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    return str(caught.value)


class TestSources:
    def test_the_environment_wins_over_the_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        Path(".env").write_text("API_PORT=1111\nAPI_HOST=10.0.0.1\n")
        monkeypatch.setenv("API_PORT", "2222")
        settings = load_settings()
        assert (settings.api_port, settings.api_host) == (2222, "10.0.0.1")

    def test_overrides_win_over_everything_and_none_is_not_one(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("API_PORT", "2222")
        assert load_settings(api_port=3333, api_host=None).api_port == 3333
        assert load_settings(api_port=None).api_port == 2222

    @pytest.mark.parametrize("empty", ["", "  ", "\n"])
    def test_empty_is_unset(self, empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
        Path(".env").write_text("AWS_REGION=eu-west-1\nAPI_PORT=\n")
        monkeypatch.setenv("AWS_REGION", empty)
        monkeypatch.setenv("LOG_LEVEL", empty)
        settings = load_settings()
        assert settings.aws_region == "eu-west-1"
        assert (settings.api_port, settings.log_level) == (8888, "INFO")

    def test_an_empty_log_file_means_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        Path(".env").write_text("LOG_FILE=other.log\n")
        assert load_settings().log_file == Path("other.log")
        monkeypatch.setenv("LOG_FILE", "")
        assert load_settings().log_file is None

    def test_an_empty_log_file_in_the_file_means_none(self) -> None:
        Path(".env").write_text("LOG_FILE=\n")
        assert load_settings().log_file is None

    def test_spaces_around_a_value_are_dropped_but_in_a_prefix(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("S3_BUCKET_NAME", " my-bucket \n")
        monkeypatch.setenv("S3_PREFIX", " a ")
        settings = load_settings()
        assert (settings.s3_bucket_name, settings.s3_prefix) == ("my-bucket", " a ")

    def test_foreign_variables_of_the_file_are_ignored(self) -> None:
        Path(".env").write_text("SOMETHING_ELSE=1\nAPI_ENDPOINT=http://x\n")
        assert load_settings().s3_bucket_name == "my-bucket"

    def test_a_file_that_is_no_text_is_one_line(self) -> None:
        Path(".env").write_bytes(b"API_PORT=\xff\xfe\n")
        with pytest.raises(ConfigurationError, match=r"^\.env: cannot be read: it is not UTF-8"):
            load_settings()

    @pytest.mark.parametrize(
        ("text", "lines"),
        [
            ("API_PORT=1\n\n# note\nhush hush\nLOG_LEVEL=INFO\n", [4]),
            ("hush\n", [1]),
            ("API_PORT=1\n\n\n\nAPI_KEYS='hush\nLOG_LEVEL=INFO\n=\n", [5, 7]),
        ],
    )
    def test_a_line_that_is_no_setting_is_told_by_its_number_and_not_repeated(
        self, text: str, lines: list[int], capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path(".env").write_text(text)
        with pytest.raises(ConfigurationError) as caught:
            load_settings()
        assert str(caught.value).splitlines() == [
            f".env line {number}: this is no setting. Example: NAME=value" for number in lines
        ]
        assert unknown_variables() == []
        assert capsys.readouterr() == ("", "")

    def test_the_file_may_be_one_of_a_shell(self) -> None:
        Path(".env").write_text("export API_PORT=1111\nexport HOME\n# a note\n\nAPI_HOST='::1'\n")
        settings = load_settings()
        assert (settings.api_port, settings.api_host) == (1111, "::1")

    def test_importing_reads_nothing(self) -> None:
        command = [sys.executable, "-c", "import datasync.config.settings"]
        environment = {**os.environ, "API_PORT": "x", "PYTHONPATH": str(ROOT)}
        subprocess.run(command, env=environment, check=True, timeout=60)


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "value", "words"),
        [
            ("api_port", "abc", "must be a whole number, not 'abc'. Example: API_PORT=8888"),
            ("api_port", "0", "must be at least 1, not '0'"),
            ("api_port", "65536", "must be at most 65535"),
            ("sync_interval_hours", "0", "must be more than 0, not '0'"),
            ("sync_interval_hours", "-1", "must be more than 0"),
            ("sync_interval_hours", "nan", "must be a number"),
            ("enable_periodic_sync", "maybe", "must be true or false, not 'maybe'"),
            ("max_file_size_mb", "0", "must be more than 0"),
            ("download_timeout_seconds", "inf", "must be at most 86400"),
            ("download_timeout_seconds", "0", "must be more than 0"),
            ("retry_attempts", "0", "must be at least 1"),
            ("retry_attempts", "1.5", "must be a whole number"),
            ("sync_concurrency", "0", "must be auto or a whole number from 1 to 256, not '0'"),
            ("sync_concurrency", "257", "must be auto or a whole number from 1 to 256"),
            ("sync_concurrency", "many", "must be auto or a whole number from 1 to 256"),
            ("delete_limit_files", "-1", "must be at least 0"),
            ("delete_limit_percent", "101", "must be at most 100"),
            ("min_free_disk_percent", "-0.1", "must be at least 0"),
            ("trash_retention_days", "-1", "must be at least 0"),
            ("durability", "maybe", "must be 'group' or 'none'"),
            ("log_format", "xml", "must be 'console' or 'json'"),
            ("log_level", "LOUD", "must be 'DEBUG'"),
            ("api_host", "http://0.0.0.0", "must be an address or host name"),
            ("api_host", "999.1.1.1", "must be an address or host name, not '999.1.1.1'"),
            ("api_host", "127.1", "must be an address or host name, not '127.1'"),
            ("aws_region", "us-east-1.example.com/", "must be the name of a region"),
            ("aws_endpoint_url_s3", "ftp://host", "must begin with http:// or https://"),
            ("aws_endpoint_url_s3", "127.0.0.1:9000", "must begin with http:// or https://"),
            ("aws_endpoint_url", "http://host/path", "without a path or a query"),
            ("aws_endpoint_url", "http://host?x=1", "without a path or a query"),
            ("aws_endpoint_url", "http://host:99999", "must be a URL such as"),
            ("aws_ca_bundle", "/no/such/file", "does not exist"),
            ("aws_ca_bundle", "/" + "x" * 300, "does not exist or cannot be read"),
            ("aws_ca_bundle", "/tmp", "does not exist or cannot be read"),
            ("s3_bucket_name", "s3://my-bucket", "must be the bare name without s3://"),
            ("s3_bucket_name", "my-bucket/reports", "a prefix goes to S3_PREFIX"),
            ("s3_bucket_name", "ab", "must be 3 to 63"),
            ("s3_bucket_name", "a" * 64, "must be 3 to 63"),
            ("s3_bucket_name", "a..b", "must be 3 to 63"),
            ("s3_bucket_name", "-abc", "must be 3 to 63"),
            ("s3_prefix", "s3://x/", "without s3://"),
            ("s3_prefix", "a" * 1025, "at most 1024 bytes"),
            ("local_download_dir", "/", "a directory of its own"),
            ("database_url", "mysql://host/db", "must begin with sqlite:/// or postgresql://"),
            ("database_url", "sqlite:///", "must name a file"),
            ("api_keys", "one two", "must be visible ASCII"),
            ("cors_origins", "https://host/path", "must be origins"),
            ("cors_origins", "*", "must name its origins unless API_KEYS is set"),
        ],
    )
    def test_one_line_names_variable_problem_and_example(
        self, name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        line = problem(monkeypatch, **{name: value})
        assert "\n" not in line
        assert line.startswith(name.upper() + " ")
        assert words in line
        assert f"Example: {name.upper()}=" in line

    def test_a_missing_bucket_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("S3_BUCKET_NAME")
        with pytest.raises(ConfigurationError) as caught:
            load_settings()
        assert str(caught.value) == (
            "S3_BUCKET_NAME is required. Example: S3_BUCKET_NAME=my-bucket"
        )

    def test_every_bad_variable_has_its_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        text = problem(
            monkeypatch, api_port="x", log_level="x", s3_bucket_name="_", aws_access_key_id="AK"
        )
        assert {line.split()[0] for line in text.splitlines()} == {
            "API_PORT",
            "LOG_LEVEL",
            "S3_BUCKET_NAME",
            "AWS_SECRET_ACCESS_KEY",
        }

    @pytest.mark.parametrize(
        ("given", "missing"),
        [
            ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
            ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
            ("AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID"),
        ],
    )
    def test_half_a_pair_names_the_missing_one(
        self, given: str, missing: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        line = problem(monkeypatch, **{given: "hush-hush"})
        assert line.startswith(f"{missing} is required because {given} is set.")
        assert "hush" not in line

    @pytest.mark.parametrize(
        "name", ["database_url", "api_keys", "aws_secret_access_key", "notification_secret"]
    )
    def test_a_bad_secret_is_not_repeated(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        assert "hush" not in problem(monkeypatch, **{name: "hush\x01 hush"})

    def test_credentials_in_an_endpoint_are_not_repeated(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        line = problem(monkeypatch, aws_endpoint_url="http://me:hush@host")
        assert "must not hold credentials" in line
        assert "hush" not in line

    def test_no_control_character_reaches_the_terminal(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert "\x1b" not in problem(monkeypatch, log_level="\x1b[31mred")


class TestValues:
    def test_bucket_names_of_other_servers_are_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("S3_BUCKET_NAME", "My_Bucket.v2")
        assert load_settings().s3_bucket_name == "My_Bucket.v2"

    def test_the_endpoint_of_s3_wins(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://one:9000/")
        assert load_settings().endpoint_url == "http://one:9000"
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://two")
        assert load_settings().endpoint_url == "https://two"

    def test_lists_are_split_at_commas(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("API_KEYS", "one, two,,")
        monkeypatch.setenv("CORS_ORIGINS", "https://a.example, http://b.example:8080")
        settings = load_settings()
        assert settings.api_keys == (SecretStr("one"), SecretStr("two"))
        assert settings.cors_origins == ("https://a.example", "http://b.example:8080")

    def test_the_ledger_is_below_the_absolute_root(self, tmp_path: Path) -> None:
        url = load_settings().ledger_url()
        assert url == f"sqlite:///{tmp_path}/downloaded_files/.datasync/ledger.db"

    def test_the_database_url_is_taken_as_it_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DATABASE_URL", "postgresql://u:p@h/db")
        assert load_settings().ledger_url() == "postgresql://u:p@h/db"

    def test_sync_options_are_in_bytes_and_seconds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MAX_FILE_SIZE_MB", "2")
        monkeypatch.setenv("SYNC_INTERVAL_HOURS", "0.5")
        monkeypatch.setenv("SYNC_CONCURRENCY", "32")
        monkeypatch.setenv("DURABILITY", "NONE")
        options = load_settings().sync_options()
        assert (options.max_bytes, options.interval_seconds) == (2 * 2**20, 1800.0)
        assert (options.concurrency, options.durable) == (32, False)
        assert options.trash_retention_seconds == 7 * 86400

    def test_no_periodic_sync_has_no_interval(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert load_settings().sync_options().concurrency is None
        monkeypatch.setenv("ENABLE_PERIODIC_SYNC", "false")
        assert load_settings().sync_options().interval_seconds is None


class TestSecrets:
    @pytest.fixture
    def settings(self, monkeypatch: pytest.MonkeyPatch) -> Settings:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            monkeypatch.setenv(name, "hush-" + name[-4:])
        monkeypatch.setenv("API_KEYS", "hush-one,hush-two")
        monkeypatch.setenv("NOTIFICATION_SECRET", "hush-three")
        monkeypatch.setenv(
            "DATABASE_URL", "postgresql://hushuser:hush%40pw@db:5432/sync?password=hush4"
        )
        return load_settings()

    def test_no_form_shows_one(self, settings: Settings) -> None:
        forms = (repr(settings), str(settings), json.dumps(settings.redacted()))
        assert not any("hush" in form for form in forms)

    def test_only_whether_they_are_set_is_shown(self, settings: Settings) -> None:
        shown = settings.redacted()
        assert (shown["aws_access_key_id"], shown["api_keys"]) == ("set", "set")
        assert shown["database_url"] == "postgresql://***@db:5432/sync?***"
        assert load_settings(api_keys=()).redacted()["api_keys"] is None

    @pytest.mark.parametrize(
        "url, shown",
        [
            ("postgresql://user:hush/pw@db/sync", "postgresql://***@db/sync"),
            ("postgresql://user:hush?pw@db/sync?a=b", "postgresql://***@db/sync?***"),
            ("postgresql://user:hush#pw@db", "postgresql://***@db"),
            ("postgresql://user@db/sync", "postgresql://***@db/sync"),
            ("postgresql:///sync?password=hush@pw", "postgresql:///sync?***"),
            ("sqlite:////var/lib/ledger.db", "sqlite:////var/lib/ledger.db"),
        ],
    )
    def test_a_database_url_is_shown_without_any_password(self, url: str, shown: str) -> None:
        assert checks.without_credentials(url) == shown
        masked = url
        for password in checks.credentials_in(url):
            masked = masked.replace(password, "")
        assert "hush" not in masked

    def test_every_setting_is_shown(self, settings: Settings) -> None:
        assert set(settings.redacted()) == set(Settings.model_fields)

    def test_the_log_learns_each_of_them(self, settings: Settings) -> None:
        found = settings.secret_values()
        assert {"hush-one", "hush-two", "hush-three", "hush%40pw", "hush@pw", "hush4"} < set(found)
        assert sum(value.startswith("hush-") for value in found) == 6


class TestUnknownVariables:
    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("S3_BUCKETNAME", "S3_BUCKET_NAME"),
            ("S3_BUCKET", "S3_BUCKET_NAME"),
            ("LOCAL_DOWNLOAD_DIRECTORY", "LOCAL_DOWNLOAD_DIR"),
            ("AWS_DEFAULT_REGION", "AWS_REGION"),
            ("API_KEY", "API_KEYS"),
            ("DELETE_LIMITS_FILES", "DELETE_LIMIT_FILES"),
        ],
    )
    def test_a_near_miss_is_told(
        self, name: str, meant: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("S3_BUCKET_NAME")
        Path(".env").write_text(f"{name}=x\n")
        (line,) = [line for line in unknown_variables() if line.startswith(name + " ")]
        assert line.endswith(f"did you mean {meant}?")

    def test_not_when_the_meant_one_is_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("S3_BUCKET", "x")
        assert unknown_variables() == []

    def test_the_environment_of_every_shell_is_quiet(self) -> None:
        assert unknown_variables() == []
