"""From what boto3 raises for a call to SQS to the error that says why. Pure.

Texts carry the code and message of SQS, never a signature, a secret or a URL.
"""

from botocore import exceptions as raised
from botocore.parsers import ResponseParserError

from datasync.errors import (
    QueueCredentialsRejected,
    QueueDenied,
    QueueError,
    QueueMissing,
    QueueSlowDown,
    QueueUnreachable,
)

MAX_TEXT = 300

# The names of SQS's JSON protocol and of the older query protocol, which botocore still shows:
# docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html
MISSING_CODES = {
    "AWS.SimpleQueueService.NonExistentQueue",
    "AWS.SimpleQueueService.QueueDeletedRecently",
    "InvalidAddress",
    "QueueDeletedRecently",
    "QueueDoesNotExist",
}
CREDENTIAL_CODES = {
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSecurity",
    "InvalidSignatureException",
    "InvalidToken",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
}
KEY_CODES = {"KmsAccessDenied", "KMS.AccessDeniedException"}
SLOW_CODES = {
    "KmsThrottled",
    "KMS.ThrottlingException",
    "OverLimit",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}
# Botocore's parser takes any JSON for an object, and stumbles where it is none.
RAISED = (
    raised.BotoCoreError,
    raised.ClientError,
    ResponseParserError,
    ValueError,
    AttributeError,
)
UNREACHABLE = (
    raised.ConnectionError,
    raised.HTTPClientError,
    raised.IncompleteReadError,
    raised.ResponseStreamingError,
)
NO_CREDENTIALS = (
    raised.ConfigNotFound,
    raised.ConfigParseError,
    raised.CredentialRetrievalError,
    raised.InfiniteLoopConfigError,
    raised.InvalidConfigError,
    raised.LoginError,
    raised.MetadataRetrievalError,
    raised.NoAuthTokenError,
    raised.NoCredentialsError,
    raised.PartialCredentialsError,
    raised.ProfileNotFound,
    raised.SSOError,
    raised.TokenRetrievalError,
    raised.UnknownCredentialError,
)


def error_for(error: Exception, what: str, permission: str) -> QueueError:
    """The error of a call that failed; `what` names the queue, `permission` what the call needs."""
    if isinstance(error, raised.ClientError):
        return _refused(error, what, permission)
    if isinstance(error, NO_CREDENTIALS):
        return QueueCredentialsRejected(f"{what}: no usable credentials: {type(error).__name__}")
    if isinstance(error, raised.SSLError):
        return QueueUnreachable(
            f"{what}: the server's certificate is not trusted",
            hint="Name the authority's certificates in AWS_CA_BUNDLE.",
        )
    if isinstance(error, UNREACHABLE):
        return QueueUnreachable(f"{what}: no answer: {type(error).__name__}")
    return QueueError(
        f"{what}: the answer is none of SQS: {type(error).__name__}",
        hint="Check SQS_QUEUE_URL and AWS_ENDPOINT_URL_SQS.",
    )


def _refused(error: raised.ClientError, what: str, permission: str) -> QueueError:
    told = error.response.get("Error", {})
    codes = {str(told.get(name, "")) for name in ("Code", "QueryErrorCode")} - {""}
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    text = f"{what}: SQS answers {status} {told.get('Code', '')}"
    if codes & CREDENTIAL_CODES:
        return QueueCredentialsRejected(text)  # the message may hold what was signed
    text += f" ({str(told.get('Message', ''))[:MAX_TEXT]!r})"
    if codes & MISSING_CODES:
        return QueueMissing(text)
    if codes & KEY_CODES:
        return QueueDenied(text, hint="Grant kms:Decrypt on the queue's key to these credentials.")
    if codes & SLOW_CODES or status == 429:
        return QueueSlowDown(text)
    if status in (401, 403):
        return QueueDenied(text, hint=f"Grant {permission} on the queue to these credentials.")
    return QueueUnreachable(text) if status >= 500 else QueueError(text)
