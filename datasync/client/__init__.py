"""A client for Python programs: ask a DataSync service, download from it, wait for it.

    from datasync.client import Client

    with Client("http://localhost:8888") as datasync:
        print(datasync.trigger().message)

Knows the shapes of the wire and nothing of the service: no engine, no web framework, no database.
Importing it does nothing.
"""

from datasync.client.asynchronous import AsyncClient, AsyncFileStream
from datasync.client.blocking import Client, FileStream
from datasync.client.calls import changed
from datasync.client.errors import (
    BadRequest,
    ClientError,
    ClientSetupError,
    Conflict,
    DownloadBroken,
    Forbidden,
    NotFound,
    ServiceError,
    ServiceTimeout,
    ServiceUnreachable,
    TooManyRequests,
    Unauthorized,
    UnexpectedAnswer,
    WaitTimeout,
)
from datasync.client.incoming import Downloaded, FileHead

__all__ = [
    "AsyncClient",
    "AsyncFileStream",
    "BadRequest",
    "Client",
    "ClientError",
    "ClientSetupError",
    "Conflict",
    "DownloadBroken",
    "Downloaded",
    "FileHead",
    "FileStream",
    "Forbidden",
    "NotFound",
    "ServiceError",
    "ServiceTimeout",
    "ServiceUnreachable",
    "TooManyRequests",
    "Unauthorized",
    "UnexpectedAnswer",
    "WaitTimeout",
    "changed",
]
