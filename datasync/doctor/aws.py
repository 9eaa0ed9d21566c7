"""The calls to AWS that the service itself never makes: boto3, made from the settings.

Signs as the adapters of bucket and queue do: the same keys, profile, region, endpoint and
certificates. Every call is bounded in time and not repeated. Knows no rules.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3.session
import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, SSLError

from datasync.config.settings import Settings
from datasync.errors import (
    AccessDenied,
    BucketError,
    CredentialsRejected,
    DataSyncError,
    NetworkFailure,
)
from datasync.services.events.sqs import endpoint_of, region_of
from datasync.services.events.sqs_refusals import NO_CREDENTIALS
from datasync.services.events.sqs_refusals import error_for as queue_error
from datasync.services.storage.s3.refusals import Refusal, error_for

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 8.0
_RECEIPT_CODES = {"ReceiptHandleIsInvalid"}
_UNKNOWN_CODES = {"NotImplemented", "MethodNotAllowed", "XNotImplemented"}


class Aws:
    """Clients of boto3, made at their first use. Safe to use from many threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()  # making clients is what boto3 cannot do in two threads
        self._clients: dict[str, Any] = {}

    def s3(self) -> "S3Client":
        """A client that signs, unless the settings say not to."""
        client: S3Client = self._client("s3", unsigned=self._settings.aws_no_sign_request)
        return client

    def anonymous_s3(self) -> "S3Client":
        """A client that signs nothing: whatever a server answers, it answers."""
        client: S3Client = self._client("s3", unsigned=True)
        return client

    def sqs(self) -> "SQSClient":
        """A client for SQS_QUEUE_URL."""
        client: SQSClient = self._client("sqs", unsigned=False)
        return client

    def close(self) -> None:
        with self._lock:
            clients, self._clients = self._clients, {}
        for client in clients.values():
            client.close()

    def _client(self, service: str, *, unsigned: bool) -> Any:
        name = f"{service}, unsigned" if unsigned else service
        with self._lock:
            if name not in self._clients:
                self._clients[name] = self._made(service, unsigned)
            return self._clients[name]

    def _made(self, service: str, unsigned: bool) -> Any:
        settings = self._settings
        region, endpoint = settings.aws_region, settings.endpoint_url
        if service == "sqs":
            url = settings.sqs_queue_url or ""
            region = region_of(url) or region
            endpoint = settings.queue_endpoint_url or endpoint_of(url)
        bundle = settings.aws_ca_bundle
        return self._session(unsigned).client(
            service,
            region_name=region,
            endpoint_url=endpoint,
            verify=str(bundle) if bundle else None,
            config=_config(unsigned, by_path="." in settings.s3_bucket_name or bool(endpoint)),
        )

    def _session(self, unsigned: bool) -> Any:
        """Given keys win over a profile, as in the adapters."""
        settings = self._settings
        key, secret = settings.aws_access_key_id, settings.aws_secret_access_key
        # Botocore would ask for AWS_PROFILE itself, also where nothing needs a profile.
        core = botocore.session.Session(session_vars={"profile": (None, None, None, None)})
        if unsigned:
            return boto3.session.Session(botocore_session=core)
        if not (key and secret):
            core.set_config_variable("profile", settings.aws_profile)
            return boto3.session.Session(botocore_session=core)
        token = settings.aws_session_token
        return boto3.session.Session(
            aws_access_key_id=key.get_secret_value(),
            aws_secret_access_key=secret.get_secret_value(),
            aws_session_token=token.get_secret_value() if token else None,
            botocore_session=core,
        )


def _config(unsigned: bool, by_path: bool) -> Config:
    options: dict[str, Any] = {
        "signature_version": UNSIGNED if unsigned else None,
        "s3": {"addressing_style": "path" if by_path else "auto"},
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": ANSWER_SECONDS,
        "retries": {"total_max_attempts": 1, "mode": "standard"},
        "request_checksum_calculation": "when_required",
        "ignore_configured_endpoint_urls": True,  # the settings alone say where to ask
    }
    return Config(**options)


@contextmanager
def asking_s3(what: str, permission: str) -> Iterator[None]:
    """Turn what boto3 raises for S3 into an error of ours.

    Raises: BucketError; of a refusal for want of the permission, AccessDenied.
    """
    try:
        yield
    except ClientError as error:
        raise _refused(error, what, permission) from error
    except BotoCoreError as error:
        raise _unanswered(error, what) from error


@contextmanager
def asking_sqs(what: str, permission: str) -> Iterator[None]:
    """The same for SQS. Raises: QueueError."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise queue_error(error, what, permission) from error


def is_unknown(error: DataSyncError) -> bool:
    """Whether the server does not know the question, as opposed to refusing it."""
    cause = error.__cause__
    if not isinstance(cause, ClientError):
        return False
    status = cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return cause.response.get("Error", {}).get("Code") in _UNKNOWN_CODES or status in (405, 501)


def is_of_receipt(error: DataSyncError) -> bool:
    """Whether SQS refused a receipt, and so would have let us use a valid one."""
    cause = error.__cause__
    code = cause.response.get("Error", {}).get("Code") if isinstance(cause, ClientError) else None
    return code in _RECEIPT_CODES


def _refused(error: ClientError, what: str, permission: str) -> BucketError:
    said = error.response.get("Error", {})
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    known = error_for(
        Refusal(status, str(said.get("Code", "")), str(said.get("Message", ""))), what
    )
    if type(known) is AccessDenied:
        known.hint = f"Grant {permission} to these credentials."
    return known


def _unanswered(error: BotoCoreError, what: str) -> BucketError:
    if isinstance(error, NO_CREDENTIALS):
        return CredentialsRejected(f"{what}: no usable credentials: {type(error).__name__}")
    if isinstance(error, SSLError):
        return NetworkFailure(
            f"{what}: the server's certificate is not trusted",
            hint="Name the authority's certificates in AWS_CA_BUNDLE.",
        )
    return NetworkFailure(f"{what}: no answer: {type(error).__name__}")
