"""Where a bucket is: host, base path and addressing style, worked out once from plain values.

Must not know: the environment, the network. Partition suffixes come from botocore's own data.
"""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from datasync.errors import ConfigurationError
from datasync.services.storage.s3.credentials import CredentialSource
from datasync.services.storage.s3.signing import encode_path

DEFAULT_PORTS = {"http": 80, "https": 443}
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_REGION = re.compile(r"[A-Za-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True)
class S3Config:
    """All the adapter needs to know. Times in seconds.

    `credentials` of None reads the bucket unsigned. A custom `endpoint_url` is addressed path
    style; `ca_bundle` of None takes certifi's certificates. `timeout_seconds` is how long a
    transfer may move no byte. `prefix` is what a check lists below: a policy may allow no more.
    """

    bucket: str
    region: str = "us-east-1"
    endpoint_url: str | None = None
    credentials: CredentialSource | None = None
    prefix: str = ""
    ca_bundle: str | None = None
    timeout_seconds: float = 300.0
    connect_timeout_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Location:
    """A bucket's address: `host` as signed and sent, `base` the encoded path before `/key`."""

    scheme: str
    host: str
    base: str

    @property
    def origin(self) -> str:
        """What precedes the path in a URL."""
        return f"{self.scheme}://{self.host}"


def locate(config: S3Config) -> Location:
    """Find the bucket's address. Raises: ConfigurationError for names that cannot be one."""
    if not _BUCKET.fullmatch(config.bucket):
        raise ConfigurationError(f"{config.bucket!r} is no bucket name")
    if not _REGION.fullmatch(config.region):
        raise ConfigurationError(f"{config.region!r} is no AWS region")
    if config.endpoint_url is not None:
        return _custom(config.endpoint_url, config.bucket)
    host = f"s3.{config.region}.{dns_suffix(config.region)}"
    if "." in config.bucket or not config.bucket.islower():  # no certificate covers such a host
        return Location("https", host, f"/{encode_path(config.bucket)}")
    return Location("https", f"{config.bucket}.{host}", "")


def dns_suffix(region: str) -> str:
    """The domain of a region's partition: `amazonaws.com`, `amazonaws.com.cn` and others."""
    from botocore.loaders import Loader

    data = Loader().load_data("partitions")
    for partition in data["partitions"]:
        if region in partition["regions"] or re.match(partition["regionRegex"], region):
            return str(partition["outputs"]["dnsSuffix"])
    return "amazonaws.com"


def _custom(url: str, bucket: str) -> Location:
    """A server of another kind: always path style."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # a bracket without its other half, a port that is no number
        raise ConfigurationError("the host or port of the endpoint URL is none") from None
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise ConfigurationError("the endpoint URL must look like https://host:port")
    if parts.username is not None or parts.query or parts.fragment:
        raise ConfigurationError("the endpoint URL must have no user name, query or fragment")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if port is not None and port != DEFAULT_PORTS[parts.scheme]:
        host = f"{host}:{port}"
    base = encode_path(parts.path.rstrip("/"))
    return Location(parts.scheme, host, f"{base}/{encode_path(bucket)}")
