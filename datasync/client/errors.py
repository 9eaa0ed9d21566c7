"""Every error of the client, in one tree.

    ClientError
    ├── ClientSetupError     the address, the key or a certificate file is missing or bad
    ├── ServiceUnreachable   no connection, or it broke
    │   └── ServiceTimeout   no answer in time
    ├── UnexpectedAnswer     not an answer of DataSync: a redirect, another version's
    ├── DownloadBroken       the bytes that came are not the file; nothing was put in place
    ├── WaitTimeout          what was waited for is not so yet
    ├── BadRequest           400, 413, 422 and the like: the service does not take this
    ├── Unauthorized         401: no key, or none that the service knows
    ├── Forbidden            403: the key's role does not allow this
    ├── NotFound             404: no such run, file or key
    ├── Conflict             409, 412: not possible in the present state
    ├── TooManyRequests      429: ask again after `retry_after_seconds`
    └── ServiceError         5xx: the service could not do it

Each carries what the service said. None ever carries the key.
"""


class ClientError(Exception):
    """The root of the tree.

    `status` is that of the answer, None when there was none. `error`, `detail` and `hint` are the
    service's words, or ours where it said nothing; `request_id` finds the request in its log.
    `retry_after_seconds` is when the service may be asked again, None when it did not say.
    """

    def __init__(
        self,
        detail: str,
        *,
        hint: str = "",
        status: int | None = None,
        error: str = "",
        request_id: str = "",
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.status = status
        self.error = error
        self.request_id = request_id
        self.retry_after_seconds = retry_after_seconds

    def __str__(self) -> str:
        head = " ".join(str(part) for part in (self.status, self.error) if part)
        text = f"{head}: {self.detail}" if head else self.detail
        return f"{text.rstrip('.')}. {self.hint}" if self.hint else text


class ClientSetupError(ClientError):
    """Nothing was sent."""


class ServiceUnreachable(ClientError):
    """Nobody knows whether a request that changes something was heard."""


class ServiceTimeout(ServiceUnreachable):
    pass


class UnexpectedAnswer(ClientError):
    pass


class DownloadBroken(ClientError):
    pass


class WaitTimeout(ClientError):
    """The service goes on; only the waiting is over."""


class BadRequest(ClientError):
    pass


class Unauthorized(ClientError):
    pass


class Forbidden(ClientError):
    pass


class NotFound(ClientError):
    pass


class Conflict(ClientError):
    pass


class TooManyRequests(ClientError):
    pass


class ServiceError(ClientError):
    pass
