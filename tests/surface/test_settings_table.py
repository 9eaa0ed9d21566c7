"""Each variable of the service, its name and its default, pinned: they are what users write."""

from pathlib import Path

import pytest
from dotenv import dotenv_values

from datasync.config.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
REQUIRED = object()

TABLE: dict[str, object] = {
    "AWS_ACCESS_KEY_ID": None,
    "AWS_ACCESS_KEY_ID_FILE": None,
    "AWS_SECRET_ACCESS_KEY": None,
    "AWS_SECRET_ACCESS_KEY_FILE": None,
    "AWS_SESSION_TOKEN": None,
    "AWS_SESSION_TOKEN_FILE": None,
    "AWS_PROFILE": None,
    "AWS_NO_SIGN_REQUEST": False,
    "AWS_REGION": "us-east-1",
    "AWS_ENDPOINT_URL_S3": None,
    "AWS_ENDPOINT_URL_SQS": None,
    "AWS_ENDPOINT_URL": None,
    "AWS_CA_BUNDLE": None,
    "S3_BUCKET_NAME": REQUIRED,
    "S3_PREFIX": "",
    "LOCAL_DOWNLOAD_DIR": Path("downloaded_files"),
    "SYNC_INTERVAL_HOURS": 1.0,
    "ENABLE_PERIODIC_SYNC": True,
    "MAX_FILE_SIZE_MB": 1000,
    "API_HOST": "0.0.0.0",
    "API_PORT": 8888,
    "LOG_LEVEL": "INFO",
    "LOG_FILE": Path("s3_notifications.log"),
    "LOG_FORMAT": "console",
    "SKIP_EXISTING_FILES": True,
    "VERIFY_FILE_INTEGRITY": True,
    "DOWNLOAD_TIMEOUT_SECONDS": 300.0,
    "RETRY_ATTEMPTS": 3,
    "SYNC_CONCURRENCY": "auto",
    "DELETE_LIMIT_FILES": 10,
    "DELETE_LIMIT_PERCENT": 25.0,
    "TRASH_RETENTION_DAYS": 7.0,
    "TRASH_MAX_PERCENT": 25.0,
    "MIN_FREE_DISK_PERCENT": 1.0,
    "DURABILITY": "group",
    "DATABASE_URL": None,
    "DATABASE_URL_FILE": None,
    "API_KEYS": (),
    "API_KEYS_FILE": None,
    "NOTIFICATION_SECRET": None,
    "NOTIFICATION_SECRET_FILE": None,
    "SQS_QUEUE_URL": None,
    "SNS_TOPIC_ARNS": (),
    "LAG_LIMIT_SECONDS": 300.0,
    "CORS_ORIGINS": (),
    "OTEL_TRACES_EXPORTER": None,
    "OTEL_EXPORTER_OTLP_ENDPOINT": None,
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": None,
    "OTEL_SDK_DISABLED": False,
}


def test_the_variables_are_these() -> None:
    assert {name.upper() for name in Settings.model_fields} == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_default(name: str) -> None:
    field = Settings.model_fields[name.lower()]
    assert field.is_required() == (TABLE[name] is REQUIRED)
    if TABLE[name] is not REQUIRED:
        assert field.default == TABLE[name]
        assert type(field.default) is type(TABLE[name]) or isinstance(field.default, Path)


@pytest.mark.parametrize("name", TABLE)
def test_each_is_described_with_an_example(name: str) -> None:
    field = Settings.model_fields[name.lower()]
    assert field.description
    assert field.examples


def test_the_example_file_names_each_with_its_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = dotenv_values(ROOT / ".env.example")
    assert set(example) == set(TABLE)
    for name in TABLE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text((ROOT / ".env.example").read_text())
    settings = Settings(s3_bucket_name="my-bucket")
    for name, default in TABLE.items():
        if default is not REQUIRED:
            assert getattr(settings, name.lower()) == default, name
