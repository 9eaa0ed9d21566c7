"""The client for ordinary code. Sends what `calls` says; one may be shared by threads."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import httpx
from tenacity import Retrying

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


class FileStream:
    """The bytes of one file, as they come; `head` says which version they are of.

    Iterating raises: ServiceUnreachable when they end too early.
    """

    def __init__(self, head: FileHead, chunks: Iterator[bytes]) -> None:
        self.head = head
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks


class Client:
    """Asks a DataSync service. Close it, or use it in a `with` statement.

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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`url` and `api_key` come from DATASYNC_URL, DATASYNC_API_KEY or DATASYNC_API_KEY_FILE
        where they are None. `timeout_seconds` is how long an answer may keep one waiting.

        `retries` is how many more times a request is sent when that can do no harm. `ca_file` has
        more certificate authorities to trust; `transport` takes the place of the network, such as
        `httpx.HTTPTransport(uds=...)`.

        Raises: ClientSetupError. Nothing is sent.
        """
        self._address = address_of(url, api_key)
        self._timeout_seconds = timeout_seconds
        self._retries = retries
        self._http = httpx.Client(
            **http_options(self._address, timeout_seconds),
            transport=transport or httpx.HTTPTransport(**transport_options(self._address, ca_file)),
        )

    @property
    def url(self) -> str:
        """Whom this client asks."""
        return self._address.url

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # How it is

    def health(self) -> HealthReport:
        """How the service is; unhealthy is an answer as well, no error."""
        return self._send(calls.health())

    def stats(self) -> StatsReport:
        """Objects, bytes, states, events, delays."""
        return self._send(calls.stats())

    def wait_until_in_sync(self, timeout_seconds: float | None = None) -> HealthReport:
        """Return as soon as the mirror is proved equal to the bucket.

        Starts no comparison: `trigger` does. Raises: WaitTimeout.
        """
        patience = Patience(timeout_seconds)
        while not (report := self.health()).in_sync:
            time.sleep(patience.pause_seconds(f"not in sync: {report.message}"))
        return report

    # Work

    def trigger(
        self,
        prefix: str = "",
        *,
        background: bool = False,
        dry_run: bool = False,
        timeout_seconds: float | None = None,
    ) -> SyncResponse:
        """Compare bucket and mirror below `prefix` now, and make them equal.

        Answers at the end of the run, however long it takes; with `background` at once, with its
        `run_id`; with `dry_run` what would be done. Where very many wait already, the answer is
        that of `background`, `accepted`: `wait_for_run` goes on from there. Behind a proxy that
        cuts long answers, use `background` and `wait_for_run`.

        Raises: ServiceTimeout after `timeout_seconds`; the run goes on.
        """
        return self._send(calls.trigger(prefix, background, dry_run, timeout_seconds))

    def notify(self, notification: Notification, *, wait_seconds: float = 0.0) -> SyncResponse:
        """Hand in S3 events, as their sender made them, or `changed(bucket, key)`.

        `wait_seconds` (at most 300) is how long to wait for what becomes of their keys.
        """
        return self._send(calls.notify(notification, wait_seconds))

    # Files

    def files(
        self, prefix: str = "", *, source: Source = "local", states: Sequence[str] = ()
    ) -> Iterator[FileEntry]:
        """Every file below `prefix` in byte order, page by page: of the mirror, or with `s3` of
        the bucket itself. With `states`, such as `archived`, only what the mirror has in one."""
        return self._every(calls.every_file(source, prefix, states))

    def file_page(
        self,
        prefix: str = "",
        *,
        source: Source = "local",
        states: Sequence[str] = (),
        token: str | None = None,
        limit: int = PAGE,
    ) -> FilePage:
        """One page; `token` is `next_token` of the page before."""
        return self._send(calls.files(source, prefix, states, token, limit))

    def download(self, key: str, target: str | os.PathLike[str]) -> Downloaded:
        """Download a file to `target`, the name of a file, which is replaced in one step.

        A download that breaks off goes on where it was, if the file is the same version still.
        Checked by its ETag where that is an MD5, else by its size. If anything goes wrong, what
        was at `target` stays, and nothing else is left.

        Raises: DownloadBroken, and OSError when the file cannot be written.
        """
        with Incoming(target, self._retries) as incoming:
            Retrying(**resuming_policy(incoming.gives_up))(self._fetch, key, incoming)
            if incoming.in_doubt:
                incoming.judge(self._entry(key))
            return incoming.place()

    @contextmanager
    def stream(self, key: str) -> Iterator[FileStream]:
        """The file's bytes as they come, for a `with` statement. Only their number is checked."""
        with self._opened(key, {"Accept-Encoding": "identity"}) as (head, response):
            yield FileStream(head, self._chunks(response))

    # Runs

    def runs(self) -> Iterator[RunReport]:
        """Every run, newest first, page by page."""
        return self._every(calls.every_run())

    def run_page(self, *, limit: int = PAGE, before: int | None = None) -> RunPage:
        """One page; `before` is `next_before` of the page before."""
        return self._send(calls.runs(limit, before))

    def run(self, run_id: int) -> RunDetail:
        """A run with what it did, and what it would delete if it is held. Raises: NotFound."""
        return self._send(calls.run(run_id))

    def progress(self, run_id: int) -> RunReport:
        """A run without its details: cheap, to be asked often. Raises: NotFound."""
        return self._send(calls.progress(run_id))

    def wait_for_run(self, run_id: int, timeout_seconds: float | None = None) -> RunDetail:
        """Return when the run is over, however it ended; a held one is, until it is approved.

        Raises: NotFound, WaitTimeout.
        """
        patience = Patience(timeout_seconds)
        while not calls.is_over(report := self.progress(run_id)):
            time.sleep(patience.pause_seconds(f"run {run_id} is {report.status}"))
        return self.run(run_id)

    def approve(self, run_id: int) -> RunReport:
        """Let the deletes of a held run be done. Raises: NotFound, Conflict."""
        return self._send(calls.approve(run_id))

    def cancel(self, run_id: int) -> RunReport:
        """Stop a run, or reject the deletes of a held one. Raises: NotFound, Conflict."""
        return self._send(calls.cancel(run_id))

    # Failures

    def failures(self, prefix: str = "") -> Iterator[FailureEntry]:
        """Every key below `prefix` that is not right, page by page."""
        return self._every(calls.every_failure(prefix))

    def failure_page(
        self, prefix: str = "", *, token: str | None = None, limit: int = PAGE
    ) -> FailurePage:
        """One page; `token` is `next_token` of the page before."""
        return self._send(calls.failures(prefix, token, limit))

    def retry(self, keys: Iterable[str] | None = None) -> SyncResponse:
        """Have these keys looked at again now; every failure if there are none named."""
        return self._send(calls.retry(None if keys is None else list(keys)))

    # What was done

    def outcomes(
        self, key: str | None = None, *, run_id: int | None = None, after: int | None = None
    ) -> Iterator[OutcomeEntry]:
        """What was done, newest first, page by page: all of it, or to this key, or by this run.

        `after` is the greatest `id` that was seen: only what is newer comes. The service keeps the
        latest 100,000.
        """
        return self._every(calls.every_outcome(key, run_id, after))

    def outcome_page(
        self,
        key: str | None = None,
        *,
        run_id: int | None = None,
        after: int | None = None,
        before: int | None = None,
        limit: int = PAGE,
    ) -> OutcomePage:
        """One page; `before` is `next_before` of the page before."""
        return self._send(calls.outcomes(key, run_id, before, after, limit))

    def activity(self, span: Timespan = "hour") -> ActivityReport:
        """Files, bytes and delays in equal steps of the last hour, day or week."""
        return self._send(calls.activity(span))

    def transfers(self) -> TransferList:
        """Downloads of the service that take longer than a second, the longest first."""
        return self._send(calls.transfers())

    # The trash

    def trash(self, prefix: str = "", *, why: str | None = None) -> Iterator[TrashedFile]:
        """Files that were removed or replaced, of paths below `prefix`, oldest first.

        `why` is what took them away: `events`, `replaced`, `run-17` and the like.
        """
        return self._every(calls.every_trashed(prefix, why))

    def trash_page(
        self,
        prefix: str = "",
        *,
        why: str | None = None,
        token: str | None = None,
        limit: int = PAGE,
    ) -> TrashPage:
        """One page; `token` is `next_token` of the page before."""
        return self._send(calls.trash(prefix, why, token, limit))

    def restore(
        self,
        ids: Iterable[str] | None = None,
        *,
        prefix: str | None = None,
        run_id: int | None = None,
        why: str | None = None,
        overwrite: bool = False,
    ) -> RestoreReport:
        """Put files back to where they were: these of the trash, by their ids (at most 1,000), or
        the newest of each path below `prefix`, of what a run deleted or something else took away.

        `overwrite` also where there is a file now, which goes to the trash. The answer has an
        entry for each, with an `error` where it could not be put back. Raises: BadRequest.
        """
        chosen = None if ids is None else list(ids)
        return self._send(calls.restore(chosen, prefix, run_id, why, overwrite))

    # The exchange

    def _every(self, listing: Listing[P, E]) -> Iterator[E]:
        mark = None
        while True:
            entries, mark = listing.read(self._send(listing.ask(mark)))
            yield from entries
            if mark is None:
                return

    def _send(self, call: Call[T]) -> T:
        again: Callable[..., T] = Retrying(**policy(call.method, self._retries))
        return again(self._once, call)

    def _once(self, call: Call[T]) -> T:
        with translated(self._address):
            response = self._http.request(
                call.method,
                self._address.url + call.target,
                content=call.body,
                headers={"Content-Type": "application/json"} if call.body is not None else None,
                timeout=timeouts(self._timeout_seconds, call.answer_seconds),
            )
        return call.read(Answer(response.status_code, response.headers, response.content))

    @contextmanager
    def _opened(
        self, key: str, headers: Mapping[str, str]
    ) -> Iterator[tuple[FileHead, httpx.Response]]:
        url = self._address.url + calls.download_target(key)
        with translated(self._address):
            request = self._http.build_request("GET", url, headers=dict(headers))
            response = self._http.send(request, stream=True)
        try:
            if response.status_code not in (200, 206):
                with translated(self._address):
                    body = response.read()
                raise error_of(Answer(response.status_code, response.headers, body))
            yield head_of(response.status_code, response.headers), response
        finally:
            response.close()

    def _chunks(self, response: httpx.Response) -> Iterator[bytes]:
        with translated(self._address):
            yield from response.iter_raw()

    def _fetch(self, key: str, incoming: Incoming) -> None:
        with self._opened(key, incoming.headers()) as (head, response):
            incoming.begin(head)
            for chunk in self._chunks(response):
                incoming.write(chunk)

    def _entry(self, key: str) -> FileEntry | None:
        """What the ledger says of a key: the first that begins with it is the key itself."""
        page = self.file_page(key, limit=1)
        return next((entry for entry in page.files if entry.key == key), None)
