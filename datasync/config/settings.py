"""Every setting of the service: typed, checked, loaded on call, shown without secrets.

Values come from the environment, then from `.env` in the working directory. Reading happens
in `loading.py`, never at import. Used by `app.py`, `cli.py` and the demo; what lies below
them gets plain values (`SyncOptions`) and must not know this module.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from datasync.config import checks
from datasync.config.sources import (
    FileSource,
    SecretFileSource,
    VariableSource,
)
from datasync.config.watched import keys_in, secret_in, watched
from datasync.models.access import ApiKey, api_keys
from datasync.models.sync_models import SyncOptions

MEGABYTE = 2**20
SECRETS = (
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "api_keys",
    "notification_secret",
)
SECRET_FILES = tuple(f"{name}_file" for name in (*SECRETS, "database_url"))

Share = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]


def _field(default: Any, description: str, example: object, **bounds: Any) -> Any:
    return Field(default, description=description, examples=[example], **bounds)


def _secret_file(name: str, more: str = "") -> Any:
    return _field(
        None,
        f"File that holds {name}, instead of that{f'; {more}' if more else ''}.",
        f"/run/secrets/{name.lower()}",
    )


class Settings(BaseSettings):
    """The effective settings. Attribute names are the variables' names in lower case."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    aws_access_key_id: SecretStr | None = _field(
        None,
        "Access key; without one, the standard AWS chain (profile, SSO, web identity, role).",
        "AKIA...",
    )
    aws_access_key_id_file: Path | None = _secret_file("AWS_ACCESS_KEY_ID")
    aws_secret_access_key: SecretStr | None = _field(
        None, "Secret key that belongs to AWS_ACCESS_KEY_ID.", "wJalr..."
    )
    aws_secret_access_key_file: Path | None = _secret_file("AWS_SECRET_ACCESS_KEY")
    aws_session_token: SecretStr | None = _field(
        None, "Session token, when the key is temporary.", "FwoGZX...", validate_default=True
    )
    aws_session_token_file: Path | None = _secret_file("AWS_SESSION_TOKEN")
    aws_profile: str | None = _field(None, "Profile of the shared AWS configuration.", "backup")
    aws_no_sign_request: bool = _field(False, "Read a public bucket without credentials.", "true")
    aws_region: str = _field("us-east-1", "Region of the bucket.", "eu-central-1")
    aws_endpoint_url_s3: str | None = _field(
        None,
        "Another S3 server than Amazon's; wins over AWS_ENDPOINT_URL.",
        "http://127.0.0.1:9000",
    )
    aws_endpoint_url: str | None = _field(
        None, "Another server than Amazon's, for S3 and SQS.", "http://127.0.0.1:9000"
    )
    aws_endpoint_url_sqs: str | None = _field(
        None,
        "Another SQS server for SQS_QUEUE_URL; wins over AWS_ENDPOINT_URL.",
        "http://127.0.0.1:9324",
    )
    aws_ca_bundle: Path | None = _field(
        None, "File with the certificates to trust.", "/etc/ssl/certs/ca.pem"
    )
    s3_bucket_name: str = Field(
        description="The bucket to mirror: its name only.", examples=["my-bucket"]
    )
    s3_prefix: str = _field("", "Mirror only keys that begin with this.", "reports/2026/")
    local_download_dir: Path = _field(
        Path("downloaded_files"),
        "The mirror: the directory that is kept equal to the bucket.",
        "downloaded_files",
    )
    sync_interval_hours: float = _field(
        1.0, "Hours between two comparisons.", "1.0", gt=0, le=8784, allow_inf_nan=False
    )
    enable_periodic_sync: bool = _field(
        True, "Compare with the bucket at start and then periodically.", "true"
    )
    max_file_size_mb: int = _field(
        1000,
        "Larger objects are reported and not mirrored (1 MB = 2^20 bytes).",
        "1000",
        gt=0,
        le=2**40,
    )
    api_host: str = _field("0.0.0.0", "Address to listen on.", "0.0.0.0")
    api_port: int = _field(8888, "Port to listen on.", "8888", ge=1, le=65535)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = _field(
        "INFO",
        "Least important level that is logged: DEBUG, INFO, WARNING, ERROR or CRITICAL.",
        "INFO",
    )
    log_file: Path | None = _field(
        Path("s3_notifications.log"),
        "Log file beside stderr, rotated at 10 MB; set but empty: none.",
        "s3_notifications.log",
    )
    log_format: Literal["console", "json"] = _field(
        "console", "Form of the log lines: console or json.", "json"
    )
    skip_existing_files: bool = _field(
        True, "false: download everything again in each comparison.", "true"
    )
    verify_file_integrity: bool = _field(
        True, "Check every byte against S3's checksums; false: only the length.", "true"
    )
    download_timeout_seconds: float = _field(
        300.0,
        "Give up a download that moves no byte for so long, and try again.",
        "300",
        gt=0,
        le=86400,
    )
    retry_attempts: int = _field(3, "Tries per object, in all.", "3", ge=1, le=100)
    sync_concurrency: Literal["auto"] | Annotated[int, Field(ge=1, le=256)] = _field(
        "auto",
        "Requests in flight; auto: it adapts to the server; a number is a fixed limit, and no "
        "worker process helps with many small objects then.",
        "auto",
    )
    delete_limit_files: int = _field(
        10,
        "A run is held that would delete more files than this and more than DELETE_LIMIT_PERCENT.",
        "10",
        ge=0,
    )
    delete_limit_percent: Share = _field(
        25.0, "Share of the mirrored files that goes with DELETE_LIMIT_FILES.", "25"
    )
    trash_retention_days: float = _field(
        7.0, "Days that files stay in the trash.", "7", ge=0, le=36600
    )
    trash_max_percent: Share = _field(
        25.0,
        "Share of the disk that the trash may take; beyond it the oldest files go, never those of "
        "the last hour.",
        "25",
    )
    min_free_disk_percent: Share = _field(
        1.0,
        "Downloads pause when less of the disk would be free; deletes and the trash go on.",
        "1",
    )
    durability: Literal["group", "none"] = _field(
        "group",
        "group: files survive a power cut; none: they may not, which is faster.",
        "group",
    )
    database_url: SecretStr | None = _field(
        None,
        "Ledger in PostgreSQL, one database for each directory; empty: SQLite inside the mirror.",
        "postgresql://user:password@host/datasync",
    )
    database_url_file: Path | None = _secret_file("DATABASE_URL")
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = _field(
        (),
        "Keys that clients may use, with commas: name:secret:role, with a role of read, operate, "
        "notify or admin; without any, only this machine is let in.",
        "dashboard:a-long-random-text:operate",
    )
    api_keys_file: Path | None = _secret_file(
        "API_KEYS", "one in a line; read again when it changes"
    )
    notification_secret: SecretStr | None = _field(
        None,
        "Shared secret of signed notifications: a sender that signs with it needs no key.",
        "a-long-random-text",
    )
    notification_secret_file: Path | None = _secret_file(
        "NOTIFICATION_SECRET", "read again when it changes"
    )
    sqs_queue_url: str | None = _field(
        None,
        "Take S3 events from this queue, beside HTTP.",
        "https://sqs.eu-central-1.amazonaws.com/123456789012/datasync",
    )
    sns_topic_arns: Annotated[tuple[str, ...], NoDecode] = _field(
        (),
        "SNS topics, with commas, whose signed messages are taken over HTTP.",
        "arn:aws:sns:eu-central-1:123456789012:datasync",
    )
    lag_limit_seconds: float = _field(
        300.0,
        "Health is degraded when a key has been pending for longer.",
        "300",
        gt=0,
        allow_inf_nan=False,
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = _field(
        (),
        "Web origins that may call the API from a browser, with commas.",
        "https://ops.example.com",
    )
    otel_traces_exporter: Literal["otlp", "console", "none"] | None = _field(
        None, "Where traces go; otlp when an endpoint is set, else nowhere.", "otlp"
    )
    otel_exporter_otlp_endpoint: str | None = _field(
        None, "Collector of traces, by OTLP over HTTP.", "http://127.0.0.1:4318"
    )
    otel_exporter_otlp_traces_endpoint: str | None = _field(
        None,
        "The same as a whole URL; wins over OTEL_EXPORTER_OTLP_ENDPOINT.",
        "http://127.0.0.1:4318/v1/traces",
    )
    otel_sdk_disabled: bool = _field(False, "true: no traces, whatever else is set.", "true")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        variables, file = VariableSource(settings_cls), FileSource(settings_cls)
        return init_settings, variables, file, SecretFileSource(settings_cls)

    _stripped = field_validator("*", mode="before")(checks.stripped)
    _off = field_validator("log_file", mode="before")(checks.empty_is_none)
    _path = field_validator("local_download_dir", "log_file", "aws_ca_bundle", *SECRET_FILES)(
        checks.path
    )
    _root = field_validator("local_download_dir")(checks.mirror_root)
    _bundle = field_validator("aws_ca_bundle")(checks.readable_file)
    _lists = field_validator("cors_origins", "sns_topic_arns", mode="before")(checks.comma_list)
    _entries = field_validator("api_keys", mode="before")(checks.key_list)
    _level = field_validator("log_level", mode="before")(checks.upper)
    _lower = field_validator(
        "log_format", "durability", "sync_concurrency", "otel_traces_exporter", mode="before"
    )(checks.lower)
    _bucket = field_validator("s3_bucket_name")(checks.bucket_name)
    _prefix = field_validator("s3_prefix")(checks.prefix)
    _region = field_validator("aws_region")(checks.region)
    _endpoint = field_validator("aws_endpoint_url_s3", "aws_endpoint_url_sqs", "aws_endpoint_url")(
        checks.endpoint
    )
    _queue = field_validator("sqs_queue_url")(checks.queue_url)
    _collector = field_validator(
        "otel_exporter_otlp_endpoint", "otel_exporter_otlp_traces_endpoint"
    )(checks.collector_url)
    _topics = field_validator("sns_topic_arns")(checks.topic_arns)
    _host = field_validator("api_host")(checks.host)
    _database = field_validator("database_url")(checks.database_url)
    _keys = field_validator("api_keys")(checks.keys)
    _origins = field_validator("cors_origins")(checks.origins)
    _open = field_validator("cors_origins")(checks.open_origin)
    _pair = field_validator("aws_session_token")(checks.credential_set)
    _credential = field_validator(
        "aws_access_key_id", "aws_secret_access_key", "aws_session_token", "notification_secret"
    )(checks.printable)

    @property
    def endpoint_url(self) -> str | None:
        """The S3-compatible server to use, None for AWS itself."""
        return self.aws_endpoint_url_s3 or self.aws_endpoint_url

    @property
    def queue_endpoint_url(self) -> str | None:
        """The SQS-compatible server to use, None for AWS itself."""
        return self.aws_endpoint_url_sqs or self.aws_endpoint_url

    @property
    def traces(self) -> Literal["otlp", "console"] | None:
        """How traces are sent; None where they are off."""
        endpoint = self.otel_exporter_otlp_endpoint or self.otel_exporter_otlp_traces_endpoint
        asked = self.otel_traces_exporter or ("otlp" if endpoint else "none")
        return None if self.otel_sdk_disabled or asked == "none" else asked

    @property
    def traces_endpoint(self) -> str:
        """The URL that traces are sent to, by the rules of OTLP's exporters."""
        base = self.otel_exporter_otlp_endpoint or "http://localhost:4318"
        return self.otel_exporter_otlp_traces_endpoint or f"{base.rstrip('/')}/v1/traces"

    @property
    def root(self) -> Path:
        """LOCAL_DOWNLOAD_DIR as an absolute path; relative ones start at the working directory."""
        return self.local_download_dir.absolute()

    @property
    def access_keys(self) -> tuple[ApiKey, ...]:
        """API_KEYS, taken apart."""
        return api_keys(key.get_secret_value() for key in self.api_keys)

    def watched_keys(self) -> Callable[[], Sequence[ApiKey]]:
        """What gives the keys of now: those of API_KEYS_FILE may change."""
        return watched("API_KEYS_FILE", self.api_keys_file, keys_in, self.access_keys)

    def watched_notification_secret(self) -> Callable[[], str | None]:
        """What gives the secret of now: that of NOTIFICATION_SECRET_FILE may change."""
        secret = self.notification_secret
        first = secret.get_secret_value() if secret is not None else None
        return watched("NOTIFICATION_SECRET_FILE", self.notification_secret_file, secret_in, first)

    def ledger_url(self) -> str:
        """The ledger's database as SQLAlchemy takes it. May hold a password: never log it."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{quote(str(self.root / '.datasync' / 'ledger.db'))}"

    def sync_options(self) -> SyncOptions:
        """What the engine needs, in bytes and seconds."""
        interval_seconds = self.sync_interval_hours * 3600 if self.enable_periodic_sync else None
        concurrency = None if self.sync_concurrency == "auto" else self.sync_concurrency
        return SyncOptions(
            bucket=self.s3_bucket_name,
            prefix=self.s3_prefix,
            max_bytes=self.max_file_size_mb * MEGABYTE,
            skip_existing=self.skip_existing_files,
            verify=self.verify_file_integrity,
            durable=self.durability == "group",
            timeout_seconds=self.download_timeout_seconds,
            attempts=self.retry_attempts,
            concurrency=concurrency,
            delete_limit_files=self.delete_limit_files,
            delete_limit_percent=self.delete_limit_percent,
            trash_retention_seconds=self.trash_retention_days * 86400,
            trash_max_percent=self.trash_max_percent,
            min_free_percent=self.min_free_disk_percent,
            interval_seconds=interval_seconds,
        )

    def variables(self) -> dict[str, str]:
        """What was given, as another program of ours takes it. Holds secrets: never show it."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return {
            name.upper(): _as_variable(value)
            for name, value in given.items()
            if value is not None and given.get(f"{name}_file") is None
        }

    def redacted(self) -> dict[str, object]:
        """Every setting by attribute name, plain JSON values; of secrets only whether they are set.

        The user, password and parameters of DATABASE_URL are masked.
        """
        return {name: self._shown(name) for name in type(self).model_fields}

    def _shown(self, name: str) -> object:
        value: object = getattr(self, name)
        if name in SECRETS:
            return "set" if value else None
        if isinstance(value, SecretStr):
            return checks.without_credentials(value.get_secret_value())
        if isinstance(value, Path):
            return str(value)
        return list(value) if isinstance(value, tuple) else value

    def secret_values(self) -> tuple[str, ...]:
        """The configured secrets themselves, for the log's redaction and nothing else."""
        secrets = [getattr(self, name) for name in SECRETS if name != "api_keys"]
        found = [secret.get_secret_value() for secret in secrets if secret]
        found += [key.secret for key in self.access_keys if key.secret]
        if self.database_url is not None:
            found += checks.credentials_in(self.database_url.get_secret_value())
        return tuple(found)


def _as_variable(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return ",".join(map(_as_variable, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
