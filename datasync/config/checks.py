"""What makes a setting's value good: one small pure check for each kind of value.

Each takes a value and returns it, perhaps tidied, or raises ValueError with words that follow
the variable's name ("API_HOST" + " must be ..."). Secrets never appear in them.
"""

import os
import re
from ipaddress import IPv4Address
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from pydantic import SecretStr, ValidationInfo
from pydantic_core import PydanticCustomError

from datasync.models.access import api_keys

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_REGION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}(%[A-Za-z0-9]+)?")
# As SQLAlchemy reads it: a password may hold slashes and question marks, no @.
_USER_INFO = re.compile(r"[^:/@]*(?::(?P<password>[^@]*))?@")
_TOPIC = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?")
_DATABASES = ("sqlite", "postgresql", "postgresql+psycopg")
_PAIR = ("aws_access_key_id", "aws_secret_access_key")
_KEEP_SPACES = frozenset({"s3_prefix"})


def stripped(value: object, info: ValidationInfo) -> object:
    """Copied values often carry spaces or a line end; only a prefix may mean them."""
    if isinstance(value, str) and info.field_name not in _KEEP_SPACES:
        return value.strip()
    return value


def empty_is_none(value: object) -> object:
    return None if value == "" else value


def upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def comma_list(value: object) -> object:
    """Split at commas; surrounding spaces and empty entries say nothing."""
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


def path(value: Path | None) -> Path | None:
    if value is None:
        return None
    if "\0" in str(value):
        raise ValueError("must not contain a NUL character")
    try:
        return value.expanduser()
    except RuntimeError:
        raise ValueError("begins with ~, but there is no such home directory") from None


def mirror_root(value: Path) -> Path:
    if value.absolute() == Path("/"):
        raise ValueError("must be a directory of its own, not the root of the file system")
    return value


def readable_file(value: Path | None) -> Path | None:
    # Path.is_file raises where a folder on the way may not be entered.
    if value is not None and not (os.path.isfile(value) and os.access(value, os.R_OK)):
        raise ValueError("names a file that does not exist or cannot be read")
    return value


def bucket_name(value: str) -> str:
    """A bucket name of AWS or of another server: 3 to 63 letters, digits, `.`, `_`, `-`."""
    if value.lower().startswith("s3://"):
        raise ValueError("must be the bare name without s3://, a prefix goes to S3_PREFIX")
    if value.startswith("arn:"):
        raise ValueError("must be a bucket's name, not an ARN")
    if "/" in value:
        raise ValueError("must be the bare name, a prefix goes to S3_PREFIX")
    if not _BUCKET.fullmatch(value) or ".." in value:
        raise ValueError(
            "must be 3 to 63 letters, digits, dots, dashes or underscores, "
            "with a letter or digit at both ends"
        )
    return value


def prefix(value: str) -> str:
    if value.lower().startswith("s3://"):
        raise ValueError("must be the beginning of keys, without s3:// and the bucket")
    if "\0" in value or len(value.encode()) > 1024:
        raise ValueError("must be at most 1024 bytes without a NUL character")
    return value


def region(value: str) -> str:
    if not _REGION.fullmatch(value):
        raise ValueError("must be the name of a region: letters, digits and dashes")
    return value


def host(value: str) -> str:
    if not _HOST.fullmatch(value):
        raise ValueError("must be an address or host name, without scheme and port")
    if re.fullmatch(r"[0-9.]+", value):
        try:
            IPv4Address(value)
        except ValueError:
            raise ValueError(f"must be an address or host name, not '{value}'") from None
    return value


def _split(value: str, wrong: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018  reading it is what checks it
    except ValueError:
        raise ValueError(wrong) from None
    return parts


def _require_plain(value: str) -> None:
    if not re.fullmatch(r"[\x21-\x7e]+", value) or "\\" in value:
        raise ValueError("must be a URL of plain ASCII characters without spaces")


def endpoint(value: str | None) -> str | None:
    """The base URL of a server, without its trailing slash."""
    if value is None:
        return None
    parts = _split(value, "must be a URL such as http://host:port")
    _endpoint_parts(value, parts)
    return f"{parts.scheme}://{parts.netloc}"


def _endpoint_parts(value: str, parts: SplitResult) -> None:
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must begin with http:// or https:// and name a host")
    if "@" in parts.netloc:
        raise ValueError("must not hold credentials, they go to AWS_ACCESS_KEY_ID and its secret")
    if parts.path not in ("", "/") or "?" in value or "#" in value:
        raise ValueError("must be scheme, host and port only, without a path or a query")
    _require_plain(value)


def queue_url(value: str | None) -> str | None:
    """The URL of a queue, as SQS shows it."""
    if value is None:
        return None
    if value.startswith("arn:"):
        raise ValueError("must be the queue's URL, not its ARN")
    parts = _split(value, "must be the URL of a queue")
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ValueError("must begin with https:// and name a host, without credentials")
    if not parts.path.strip("/") or "?" in value or "#" in value:
        raise ValueError("must end with the account and the name of the queue")
    _require_plain(value)
    return value


def collector_url(value: str | None) -> str | None:
    """The URL of a collector; its path is the collector's own affair."""
    if value is None:
        return None
    parts = _split(value, "must be a URL such as http://host:4318")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must begin with http:// or https:// and name a host")
    if "@" in parts.netloc or "?" in value or "#" in value:
        raise ValueError("must hold no credentials, they go to OTEL_EXPORTER_OTLP_HEADERS")
    _require_plain(value)
    return value


def topic_arns(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not _TOPIC.fullmatch(value):
            raise ValueError("must be ARNs of SNS topics, by commas")
    return values


def database_url(value: SecretStr | None) -> SecretStr | None:
    if value is None:
        return None
    scheme, separator, rest = value.get_secret_value().partition("://")
    if not separator or scheme not in _DATABASES:
        raise ValueError("must begin with sqlite:/// or postgresql://")
    if scheme == "sqlite" and not rest.lstrip("/"):
        raise ValueError("must name a file after sqlite:///")
    return value


def key_list(value: object) -> object:
    return entries_in(value) if isinstance(value, str) else value


def entries_in(text: str) -> tuple[str, ...]:
    """The keys of a list: by commas or in lines; a line that begins with # is a remark."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return tuple(part.strip() for line in lines for part in line.split(",") if part.strip())


def keys(values: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    """Keys travel in an HTTP header: visible ASCII only."""
    for value in values:
        if not re.fullmatch(r"[\x21-\x7e]+", value.get_secret_value()):
            raise ValueError("must be visible ASCII characters without spaces, keys by commas")
    api_keys(value.get_secret_value() for value in values)
    return values


def printable(value: SecretStr | None) -> SecretStr | None:
    if value is not None and not re.fullmatch(r"[\x20-\x7e]+", value.get_secret_value()):
        raise ValueError("must be printable ASCII characters")
    return value


def origins(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if value != "*" and not re.fullmatch(r"https?://[A-Za-z0-9._\[\]:-]+", value):
            raise ValueError("must be origins such as https://host or https://host:port")
    return values


def open_origin(values: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    """Every web page could read a service that asks its visitors for no key."""
    if "*" in values and not info.data.get("api_keys", True):
        raise ValueError("must name its origins unless API_KEYS is set")
    return values


def credential_set(token: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
    """Half a pair would silently sign with the other half of something else."""
    given = {name: value for name, value in info.data.items() if name in _PAIR}
    if len(given) < len(_PAIR):
        return token  # a bad one has its own line
    present = [name for name in _PAIR if given[name]] + (["aws_session_token"] if token else [])
    for name in _PAIR:
        if present and not given[name]:
            raise whole_line(
                f"{name.upper()} is required because {present[0].upper()} is set", name
            )
    return token


def whole_line(text: str, variable: str) -> PydanticCustomError:
    """A problem of another variable than the one that was being checked."""
    return PydanticCustomError("whole_line", "{line}", {"line": text, "about": variable})


def without_credentials(url: str) -> str:
    """The URL of a database with user, password and parameters masked."""
    scheme, _, rest = url.partition("://")
    user_info, location = _split_user_info(rest)
    location, mark, _ = location.partition("?")
    return f"{scheme}://{'***@' if user_info else ''}{location}{'?***' if mark else ''}"


def credentials_in(url: str) -> list[str]:
    """The passwords a database URL carries, as written and decoded."""
    user_info, location = _split_user_info(url.partition("://")[2])
    written = (user_info and user_info["password"]) or ""
    found = [written, unquote(written)]
    found += parse_qs(location.partition("?")[2]).get("password", [])
    return [password for password in dict.fromkeys(found) if password]


def _split_user_info(rest: str) -> tuple[re.Match[str] | None, str]:
    found = _USER_INFO.match(rest)
    return found, rest[found.end() :] if found else rest
