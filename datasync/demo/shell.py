"""The lines that point a shell's `datasync` at the running demo. Pure."""

import shlex
from collections.abc import Iterator, Mapping

from datasync.config.settings import Settings

# What an earlier life of the shell may have set, and what would lead away from the demo.
_FOREIGN = ("AWS_CA_BUNDLE", "AWS_PROFILE", "AWS_SESSION_TOKEN", "S3_PREFIX")


def variables(settings: Settings) -> dict[str, str]:
    """The settings of the demo that a command needs; their keys open nothing but the demo."""
    key, secret = settings.aws_access_key_id, settings.aws_secret_access_key
    assert key is not None and secret is not None
    return {
        "S3_BUCKET_NAME": settings.s3_bucket_name,
        "AWS_ENDPOINT_URL_S3": settings.endpoint_url or "",
        "AWS_ACCESS_KEY_ID": key.get_secret_value(),
        "AWS_SECRET_ACCESS_KEY": secret.get_secret_value(),
        "AWS_REGION": settings.aws_region,
        "AWS_NO_SIGN_REQUEST": "false",
        "LOCAL_DOWNLOAD_DIR": str(settings.root),
        "DATABASE_URL": settings.ledger_url(),
        "LOG_FILE": "",
        "API_PORT": str(settings.api_port),
    }


def lines(given: Mapping[str, str]) -> Iterator[str]:
    """POSIX shell: one `unset`, then one `export` for each variable."""
    yield f"unset {' '.join(_FOREIGN)}"
    for name, value in given.items():
        yield f"export {name}={shlex.quote(value) if value else ''}"
    for name in ("no_proxy", "NO_PROXY"):  # a proxy could not reach this machine's own bucket
        yield f'export {name}="127.0.0.1,localhost${{{name}:+,${name}}}"'
