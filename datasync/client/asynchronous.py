"""The client for asyncio. Method for method that of `blocking`, which says what each does."""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import anyio
import anyio.to_thread
import httpx
from tenacity import AsyncRetrying

from datasync.client import calls
from datasync.client.address import address_of
from datasync.client.answers import Answer, error_of
from datasync.client.calls import PAGE, Call, Listing, Notification, Source, Timespan
from datasync.client.exchange import (
    http_options,
    policy,
    resuming_policy,
    timeouts,
    translated,
    transport_options,
)
from datasync.client.incoming import Downloaded, FileHead, Incoming, head_of
from datasync.client.patience import Patience
from datasync.models.s3_models import (
    ActivityReport,
    FailureEntry,
    FailurePage,
    FileEntry,
    FilePage,
    HealthReport,
    OutcomeEntry,
    OutcomePage,
    RestoreReport,
    RunDetail,
    RunPage,
    RunReport,
    StatsReport,
    SyncResponse,
    TransferList,
    TrashedFile,
    TrashPage,
)

T = TypeVar("T")
P = TypeVar("P")
E = TypeVar("E")


class AsyncFileStream:
    """As `FileStream`, for `async for`."""

    def __init__(self, head: FileHead, chunks: AsyncIterator[bytes]) -> None:
        self.head = head
        self._chunks = chunks

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks


class AsyncClient:
    """Asks a DataSync service. Close it, or use it in an `async with` statement.

    Every method raises ClientError: see `datasync.client.errors` for the tree.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_seconds: float = 30.0,
        retries: int = 3,
        ca_file: str | Path | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """As `Client`. Raises: ClientSetupError. Nothing is sent."""
        self._address = address_of(url, api_key)
        self._timeout_seconds = timeout_seconds
        self._retries = retries
        network = transport or httpx.AsyncHTTPTransport(**transport_options(self._address, ca_file))
        self._http = httpx.AsyncClient(
            **http_options(self._address, timeout_seconds), transport=network
        )

    @property
    def url(self) -> str:
        """Whom this client asks."""
        return self._address.url

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    # How it is

    async def health(self) -> HealthReport:
        """As `Client.health`."""
        return await self._send(calls.health())

    async def stats(self) -> StatsReport:
        """As `Client.stats`."""
        return await self._send(calls.stats())

    async def wait_until_in_sync(self, timeout_seconds: float | None = None) -> HealthReport:
        """As `Client.wait_until_in_sync`. Raises: WaitTimeout."""
        patience = Patience(timeout_seconds)
        while not (report := await self.health()).in_sync:
            await anyio.sleep(patience.pause_seconds(f"not in sync: {report.message}"))
        return report

    # Work

    async def trigger(
        self,
        prefix: str = "",
        *,
        background: bool = False,
        dry_run: bool = False,
        timeout_seconds: float | None = None,
    ) -> SyncResponse:
        """As `Client.trigger`. Raises: ServiceTimeout."""
        return await self._send(calls.trigger(prefix, background, dry_run, timeout_seconds))

    async def notify(
        self, notification: Notification, *, wait_seconds: float = 0.0
    ) -> SyncResponse:
        """As `Client.notify`."""
        return await self._send(calls.notify(notification, wait_seconds))

    # Files

    def files(
        self, prefix: str = "", *, source: Source = "local", states: Sequence[str] = ()
    ) -> AsyncIterator[FileEntry]:
        """As `Client.files`."""
        return self._every(calls.every_file(source, prefix, states))

    async def file_page(
        self,
        prefix: str = "",
        *,
        source: Source = "local",
        states: Sequence[str] = (),
        token: str | None = None,
        limit: int = PAGE,
    ) -> FilePage:
        """As `Client.file_page`."""
        return await self._send(calls.files(source, prefix, states, token, limit))

    async def download(self, key: str, target: str | os.PathLike[str]) -> Downloaded:
        """As `Client.download`. Raises: DownloadBroken, and OSError."""
        with Incoming(target, self._retries) as incoming:
            await AsyncRetrying(**resuming_policy(incoming.gives_up))(self._fetch, key, incoming)
            if incoming.in_doubt:
                incoming.judge(await self._entry(key))
            # A disk takes its time to say that a file is safe.
            return await anyio.to_thread.run_sync(incoming.place)

    @asynccontextmanager
    async def stream(self, key: str) -> AsyncIterator[AsyncFileStream]:
        """As `Client.stream`, for `async with`."""
        async with (
            self._opened(key, {"Accept-Encoding": "identity"}) as (head, response),
            aclosing(self._chunks(response)) as chunks,
        ):
            yield AsyncFileStream(head, chunks)

    # Runs

    def runs(self) -> AsyncIterator[RunReport]:
        """As `Client.runs`."""
        return self._every(calls.every_run())

    async def run_page(self, *, limit: int = PAGE, before: int | None = None) -> RunPage:
        """As `Client.run_page`."""
        return await self._send(calls.runs(limit, before))

    async def run(self, run_id: int) -> RunDetail:
        """As `Client.run`. Raises: NotFound."""
        return await self._send(calls.run(run_id))

    async def progress(self, run_id: int) -> RunReport:
        """As `Client.progress`. Raises: NotFound."""
        return await self._send(calls.progress(run_id))

    async def wait_for_run(self, run_id: int, timeout_seconds: float | None = None) -> RunDetail:
        """As `Client.wait_for_run`. Raises: NotFound, WaitTimeout."""
        patience = Patience(timeout_seconds)
        while not calls.is_over(report := await self.progress(run_id)):
            await anyio.sleep(patience.pause_seconds(f"run {run_id} is {report.status}"))
        return await self.run(run_id)

    async def approve(self, run_id: int) -> RunReport:
        """As `Client.approve`. Raises: NotFound, Conflict."""
        return await self._send(calls.approve(run_id))

    async def cancel(self, run_id: int) -> RunReport:
        """As `Client.cancel`. Raises: NotFound, Conflict."""
        return await self._send(calls.cancel(run_id))

    # Failures

    def failures(self, prefix: str = "") -> AsyncIterator[FailureEntry]:
        """As `Client.failures`."""
        return self._every(calls.every_failure(prefix))

    async def failure_page(
        self, prefix: str = "", *, token: str | None = None, limit: int = PAGE
    ) -> FailurePage:
        """As `Client.failure_page`."""
        return await self._send(calls.failures(prefix, token, limit))

    async def retry(self, keys: Iterable[str] | None = None) -> SyncResponse:
        """As `Client.retry`."""
        return await self._send(calls.retry(None if keys is None else list(keys)))

    # What was done

    def outcomes(
        self, key: str | None = None, *, run_id: int | None = None, after: int | None = None
    ) -> AsyncIterator[OutcomeEntry]:
        """As `Client.outcomes`."""
        return self._every(calls.every_outcome(key, run_id, after))

    async def outcome_page(
        self,
        key: str | None = None,
        *,
        run_id: int | None = None,
        after: int | None = None,
        before: int | None = None,
        limit: int = PAGE,
    ) -> OutcomePage:
        """As `Client.outcome_page`."""
        return await self._send(calls.outcomes(key, run_id, before, after, limit))

    async def activity(self, span: Timespan = "hour") -> ActivityReport:
        """As `Client.activity`."""
        return await self._send(calls.activity(span))

    async def transfers(self) -> TransferList:
        """As `Client.transfers`."""
        return await self._send(calls.transfers())

    # The trash

    def trash(self, prefix: str = "", *, why: str | None = None) -> AsyncIterator[TrashedFile]:
        """As `Client.trash`."""
        return self._every(calls.every_trashed(prefix, why))

    async def trash_page(
        self,
        prefix: str = "",
        *,
        why: str | None = None,
        token: str | None = None,
        limit: int = PAGE,
    ) -> TrashPage:
        """As `Client.trash_page`."""
        return await self._send(calls.trash(prefix, why, token, limit))

    async def restore(
        self,
        ids: Iterable[str] | None = None,
        *,
        prefix: str | None = None,
        run_id: int | None = None,
        why: str | None = None,
        overwrite: bool = False,
    ) -> RestoreReport:
        """As `Client.restore`. Raises: BadRequest."""
        chosen = None if ids is None else list(ids)
        return await self._send(calls.restore(chosen, prefix, run_id, why, overwrite))

    # The exchange

    async def _every(self, listing: Listing[P, E]) -> AsyncIterator[E]:
        mark = None
        while True:
            entries, mark = listing.read(await self._send(listing.ask(mark)))
            for entry in entries:
                yield entry
            if mark is None:
                return

    async def _send(self, call: Call[T]) -> T:
        return await AsyncRetrying(**policy(call.method, self._retries))(self._once, call)

    async def _once(self, call: Call[T]) -> T:
        with translated(self._address):
            response = await self._http.request(
                call.method,
                self._address.url + call.target,
                content=call.body,
                headers={"Content-Type": "application/json"} if call.body is not None else None,
                timeout=timeouts(self._timeout_seconds, call.answer_seconds),
            )
        return call.read(Answer(response.status_code, response.headers, response.content))

    @asynccontextmanager
    async def _opened(
        self, key: str, headers: Mapping[str, str]
    ) -> AsyncIterator[tuple[FileHead, httpx.Response]]:
        url = self._address.url + calls.download_target(key)
        with translated(self._address):
            request = self._http.build_request("GET", url, headers=dict(headers))
            response = await self._http.send(request, stream=True)
        try:
            if response.status_code not in (200, 206):
                with translated(self._address):
                    body = await response.aread()
                raise error_of(Answer(response.status_code, response.headers, body))
            yield head_of(response.status_code, response.headers), response
        finally:
            await response.aclose()

    async def _chunks(self, response: httpx.Response) -> AsyncGenerator[bytes, None]:
        with translated(self._address):
            async for chunk in response.aiter_raw():
                yield chunk

    async def _fetch(self, key: str, incoming: Incoming) -> None:
        async with (
            self._opened(key, incoming.headers()) as (head, response),
            aclosing(self._chunks(response)) as chunks,
        ):
            incoming.begin(head)
            # Written here, not in a thread: a piece is small, and goes to the system's memory.
            async for chunk in chunks:
                incoming.write(chunk)

    async def _entry(self, key: str) -> FileEntry | None:
        page = await self.file_page(key, limit=1)
        return next((entry for entry in page.files if entry.key == key), None)
