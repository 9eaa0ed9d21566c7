"""The S3 client: builds and signs requests, and asks one thing at a time where that is enough.

Many requests at once are the channel's business (`storage/channel.py`); it takes the signed
requests and the loops from here. Must not know: the engine, settings, retries.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from threading import Lock, Thread

import certifi

from datasync.errors import (
    BucketError,
    ClockSkewed,
    CredentialsOutdated,
    CredentialsRejected,
    DataSyncError,
    Interrupted,
    NetworkFailure,
    TransferStalled,
    UnexpectedAnswer,
)
from datasync.models.sync_models import ObjectHead, ObjectRequest
from datasync.services.storage.s3.answers import Fields, object_head, parse_lines
from datasync.services.storage.s3.credentials import PATIENCE_SECONDS, GivenCredentials
from datasync.services.storage.s3.endpoint import S3Config, locate
from datasync.services.storage.s3.loop import Ended, LoopOptions, Transfer, TransferLoop
from datasync.services.storage.s3.refusals import (
    MAX_ERROR_BYTES,
    error_for,
    error_for_curl,
    parse_refusal,
)
from datasync.services.storage.s3.signing import (
    Frame,
    SigningScope,
    encode_path,
    encode_query,
    frame,
    scope_for,
    sign,
    stamp_of,
)

CHECKSUM_MODE = {"x-amz-checksum-mode": "ENABLED"}
UNTOLD = frozenset({301, 302, 307, 308, 400, 401, 403, 404})
CLOSE_SECONDS = 1.0
SPARE = 4  # loops that are kept for the next questions, with their connections


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """A whole answer to a blocking request, whatever its status."""

    status: int
    fields: Fields
    body: bytes


@dataclass(slots=True)
class Exchange:
    """A blocking request while it runs."""

    max_bytes: int
    size: int = 0
    body: list[bytes] = field(default_factory=list)


class S3Client:
    """Requests to one bucket. Safe to use from several threads."""

    def __init__(
        self,
        config: S3Config,
        clock: Callable[[], float] = time.time,
        *,
        offset_seconds: float = 0.0,
    ) -> None:
        self.config = config
        self.location = locate(config)
        self._clock = clock
        self.offset_seconds = offset_seconds  # the server's clock minus ours, once it complained
        self._scope: SigningScope | None = None
        self._kept: tuple[SigningScope, str, Frame] | None = None
        self._origin = self.location.origin
        self._base = self.location.base
        self._spare: list[TransferLoop] = []
        self._lent: set[TransferLoop] = set()
        self._lock = Lock()
        self._closed = False
        self._process: int | None = None  # that of the first connection

    def object_call(
        self, request: ObjectRequest, patience_seconds: float | None = None
    ) -> tuple[str, list[str]]:
        """URL and header lines of a GET or HEAD of an object.

        `patience_seconds` is for credentials that are on their way: by default as long as for an
        answer.

        Raises: UnexpectedAnswer for an ETag no header can carry, CredentialsRejected.
        """
        headers = dict(CHECKSUM_MODE)
        if request.first is not None:
            last = "" if request.last is None else request.last
            headers["range"] = f"bytes={request.first}-{last}"
        if request.if_match is not None:
            headers["if-match"] = _etag_text(request.if_match)
        if request.if_none_match is not None:
            headers["if-none-match"] = _etag_text(request.if_none_match)
        number = request.part_number
        query = "" if number is None else f"partNumber={number}"
        path = f"/{encode_path(request.key)}"
        return self._signed(request.method, path, query, headers, patience_seconds)

    def bucket_call(
        self,
        key: str | None,
        parameters: dict[str, str],
        headers: dict[str, str],
        patience_seconds: float | None = None,
    ) -> tuple[str, list[str]]:
        """URL and header lines of a GET of the bucket (`key` of None) or about an object.

        See `object_call`.
        """
        path = "" if key is None else f"/{encode_path(key)}"
        return self._signed("GET", path, encode_query(parameters), headers, patience_seconds)

    def _signed(
        self,
        method: str,
        path: str,
        query: str,
        headers: dict[str, str],
        patience_seconds: float | None,
    ) -> tuple[str, list[str]]:
        path = f"{self._base}{path}" or "/"
        url = f"{self._origin}{path}?{query}" if query else f"{self._origin}{path}"
        source = self.config.credentials
        if source is None:
            return url, [f"{name}:{text}" for name, text in headers.items()]
        if patience_seconds is None:
            patience_seconds = self.config.timeout_seconds
        credentials = source(patience_seconds)  # may wait, so the time is looked at afterwards
        stamp = stamp_of(int(self._clock() + self.offset_seconds))
        scope = self._scope
        if scope is None or scope.credentials is not credentials or scope.day != stamp[:8]:
            scope = scope_for(credentials, stamp[:8], self.config.region)
            self._scope = scope
        return url, sign(self._frame(scope, stamp, headers), method, path, query)

    def _frame(self, scope: SigningScope, stamp: str, headers: dict[str, str]) -> Frame:
        """The frame of a request; the one of most of them is made once a second."""
        if headers != CHECKSUM_MODE:
            return frame(scope, stamp, self.location.host, headers)
        kept = self._kept
        if kept is None or kept[0] is not scope or kept[1] != stamp:
            made = frame(scope, stamp, self.location.host, headers)
            kept = self._kept = (scope, stamp, made)
        return kept[2]

    def refuse(
        self, status: int, fields: Fields, body: bytes, what: str, key: str | None = None
    ) -> BucketError:
        """The error of a refusal; it teaches the client the server's clock, or new credentials.

        Where a `key` was asked for, only what speaks of it can say that it is missing.
        """
        if status < 300:
            return UnexpectedAnswer(f"{what}: S3 answers {status}, which answers nothing here")
        error = error_for(parse_refusal(status, fields, body), what, key)
        if isinstance(error, ClockSkewed):
            self._learn_clock(fields)
        elif isinstance(error, CredentialsRejected):
            source = self.config.credentials
            if source is not None and source.renew():
                return CredentialsOutdated(str(error))
        return error

    def _learn_clock(self, fields: Fields) -> None:
        with suppress(TypeError, ValueError):
            theirs = parsedate_to_datetime(fields.get("date", "")).timestamp()
            self.offset_seconds = theirs - self._clock()

    def frozen(self) -> S3Config:
        """The same for another process, with the credentials of the moment.

        Raises: CredentialsRejected, CredentialsOutdated.
        """
        source = self.config.credentials
        given = None if source is None else GivenCredentials(source(PATIENCE_SECONDS))
        return replace(self.config, credentials=given)

    def new_loop(self, max_connections: int) -> TransferLoop:
        """A loop for the calling thread, with this bucket's timeouts and certificates."""
        self._require_own_process()
        config = self.config
        secure = self.location.scheme == "https"
        options = LoopOptions(
            timeout_seconds=config.timeout_seconds,
            connect_timeout_seconds=config.connect_timeout_seconds,
            ca_file=(config.ca_bundle or certifi.where()) if secure else None,
        )
        return TransferLoop(options, max_connections)

    def head(self, request: ObjectRequest) -> ObjectHead:
        """The head of an object or of one of its parts; blocks.

        Raises: ObjectMissing, PreconditionFailed, AccessDenied, other BucketErrors, TornRead.
        """
        what = repr(request.key)
        answer = self.ask(self.object_call(request), what, bodyless=True)
        if answer.status in (200, 206, 304):
            return object_head(answer.status, answer.fields, request)
        if answer.status in UNTOLD:
            answer = self.ask(self.object_call(first_byte(request)), what)
            if answer.status == 416:
                raise UnexpectedAnswer(f"{what}: S3 denies the object and knows its size")
        raise self.refuse(answer.status, answer.fields, answer.body, what, request.key)

    def ask(
        self,
        call: tuple[str, list[str]],
        what: str,
        *,
        bodyless: bool = False,
        max_bytes: int = MAX_ERROR_BYTES,
        timeout_seconds: float | None = None,
    ) -> RawAnswer:
        """Send one request, wait for its whole answer, whatever its status.

        All of it must be there in `timeout_seconds`, None: as long as a transfer may be silent.
        An answer that drips for ever would keep a run from ever ending.

        Raises: NetworkFailure, TransferStalled (also when the total time is over),
        UnexpectedAnswer (over `max_bytes`, no HTTP), Interrupted (the client was closed).
        """
        limit, hint = timeout_seconds, NetworkFailure.hint
        if limit is None:
            limit, hint = self.config.timeout_seconds, TransferStalled.hint
        with self._borrowed() as loop:
            exchange = Exchange(max_bytes)
            transfer = loop.begin(call[0], call[1], bodyless, exchange)
            try:
                answer = _wait(loop, transfer, exchange, what, limit)
            finally:
                loop.drop(transfer)
        if answer is None:
            # No setting would have made a caller with a bound of its own wait longer.
            raise TransferStalled(f"{what}: no whole answer within {limit:g} seconds", hint=hint)
        return answer

    @contextmanager
    def _borrowed(self) -> Iterator[TransferLoop]:
        """A loop nobody else uses; the one last used, for its open connection."""
        loop, whole = self._lend(), False
        try:
            yield loop
            whole = True
        except DataSyncError:
            whole = True
            raise
        finally:
            self._take_back(loop, whole)

    def _lend(self) -> TransferLoop:
        self._require_own_process()
        with self._lock:
            if self._closed:
                raise Interrupted("the bucket is closed")
            loop = self._spare.pop() if self._spare else self.new_loop(2)
            self._lent.add(loop)
            return loop

    def _take_back(self, loop: TransferLoop, whole: bool) -> None:
        with self._lock:
            self._lent.remove(loop)
            if whole and not self._closed and len(self._spare) < SPARE:
                self._spare.append(loop)
                return
        loop.close()

    def _require_own_process(self) -> None:
        """A connection has one owner: two processes would read one another's answers."""
        self._process = self._process or os.getpid()
        if self._process != os.getpid():
            raise BucketError(
                "the bucket was in use before this process was forked",
                hint="Make the bucket in the process that uses it.",
            )

    def close(self) -> None:
        """End the blocking requests: those under way, and later ones, raise Interrupted."""
        if self._process not in (None, os.getpid()):
            return
        with self._lock:
            self._closed = True
            spare, self._spare = self._spare, []
            for loop in self._lent:
                loop.wake()
        if spare:
            _close_within(spare, CLOSE_SECONDS)


def _close_within(loops: Sequence[TransferLoop], seconds: float) -> None:
    """Close loops, or leave them behind: libcurl waits for a name server that does not answer."""

    def close() -> None:
        for loop in loops:
            loop.close()

    closing = Thread(target=close, name="s3-close", daemon=True)
    try:
        closing.start()
    except RuntimeError:  # no more threads to be had
        close()
    else:
        closing.join(seconds)


def first_byte(request: ObjectRequest) -> ObjectRequest:
    """What to ask when a HEAD was refused with a status in `UNTOLD`.

    A HEAD has no body to tell the reason: its 404 may mean the object, the bucket or a proxy. So
    the first byte is asked for with a GET, and only the refusal that answers it counts. Its 304
    would be none, so it is not offered.
    """
    return replace(request, method="GET", first=0, last=0, part_number=None, if_none_match=None)


def _wait(
    loop: TransferLoop,
    transfer: Transfer,
    exchange: Exchange,
    what: str,
    timeout_seconds: float,
) -> RawAnswer | None:
    """Turn the loop until the one transfer in it is over; None when the time is over before."""
    deadline = time.monotonic() + timeout_seconds
    while (remaining := deadline - time.monotonic()) > 0:
        moved, ended = loop.turn(min(remaining, 60.0))
        if loop.take_wake():
            raise Interrupted(f"{what}: the bucket was closed")
        if moved or ended:
            _collect(transfer, exchange, what)
        for end in ended:
            return _finish(loop, end, exchange, what)
    return None


def _collect(transfer: Transfer, exchange: Exchange, what: str) -> None:
    pieces = transfer.take()
    exchange.size += sum(map(len, pieces))
    exchange.body += pieces
    if exchange.size > exchange.max_bytes:
        raise UnexpectedAnswer(f"{what}: the answer is over {exchange.max_bytes} bytes")


def _finish(loop: TransferLoop, end: Ended, exchange: Exchange, what: str) -> RawAnswer:
    try:
        if end.code:
            raise error_for_curl(end.code, end.text, what)
        status, fields = parse_lines(end.transfer.lines)
        return RawAnswer(status, fields, b"".join(exchange.body))
    finally:
        loop.release(end.transfer)


def _etag_text(etag: str) -> str:
    """An ETag as a header carries it. Raises: UnexpectedAnswer for what no header can carry."""
    if etag == "*":
        return etag
    if not etag.isascii() or not etag.isprintable() or '"' in etag or "  " in etag:
        raise UnexpectedAnswer(f"{etag!r} is no ETag")
    return f'"{etag}"'
