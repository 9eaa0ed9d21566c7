"""`FakeBucket`: the `Bucket` port fully in memory, with scripted faults. No mocks, no network.

    bucket = FakeBucket()
    bucket.put("a.bin", b"...", part_size=5)
    bucket.script("a.bin", fail.reset_after(1_000), fail.status(503, times=2))
    bucket.script_list(fail.at_page(2))

It passes the same contract suite as the real adapter. Each request of a key takes one fault
from the key's script, in order; a fault with `times=n` serves n requests.
"""

import time
from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from threading import RLock

from datasync.errors import (
    DataSyncError,
    ObjectArchived,
    ObjectMissing,
    PreconditionFailed,
    RangeUnsatisfiable,
    TransferStalled,
)
from datasync.models.sync_models import ListedObject, ListingPage, ObjectHead, ObjectRequest
from datasync.services.storage.bucket import BucketElsewhere
from datasync.services.storage.channel import Channel
from tests.support import fail
from tests.support.fail import Fault
from tests.support.fake_channel import FakeChannel
from tests.support.fake_objects import FakeObject, checksum_of, etag_of, even_parts

__all__ = ["FakeBucket", "fail"]

EPOCH = 1_700_000_000


class FakeBucket:
    """A bucket in memory. Thread-safe as the port demands; `objects` may be read by tests.

    `counts` counts requests by kind ("list" is one page, "get", "head", "parts", "check"),
    `requests` keeps every GET and HEAD. `chunk_bytes` is how the bodies are cut, `stall_seconds`
    how long a stalled transfer takes to be given up, `outage` an error that every request gets.
    """

    def __init__(
        self, *, page_size: int = 1000, chunk_bytes: int = 65536, stall_seconds: float = 0.05
    ) -> None:
        self.page_size = page_size
        self.chunk_bytes = chunk_bytes
        self.stall_seconds = stall_seconds
        self.outage: DataSyncError | None = None
        self.parts_unknown = False
        self.objects: dict[str, FakeObject] = {}
        self.counts: Counter[str] = Counter()
        self.requests: list[ObjectRequest] = []
        self.peak_in_flight = 0
        self.closed = False
        self._extra: list[ListedObject] = []
        self._scripts: dict[tuple[str, str | None], deque[Fault]] = {}
        self._list_script: deque[Fault] = deque()
        self._check_script: deque[Fault] = deque()
        self._empty_listings = 0
        self._unordered = False
        self._before_showing: Callable[[], object] | None = None
        self._versions = 0
        self._sorted: list[bytes] | None = None
        self._lock = RLock()

    # What tests do to the bucket

    def put(
        self,
        key: str,
        body: bytes = b"",
        *,
        etag: str | None = None,
        part_size: int | None = None,
        part_sizes: tuple[int, ...] = (),
        checksum: str | None = None,
        checksum_type: str = "FULL_OBJECT",
        last_modified: int | None = None,
        storage_class: str = "STANDARD",
        restored: bool = False,
        encryption: str = "",
    ) -> FakeObject:
        """Store a new version. `part_size` (even) or `part_sizes` make it a multipart object."""
        with self._lock:
            self._versions += 1
            sizes = part_sizes or (even_parts(len(body), part_size) if part_size else ())
            stored = {}
            if checksum:
                stored[checksum] = checksum_of(checksum, checksum_type, body, sizes)
            self.objects[key] = made = FakeObject(
                body=body,
                etag=etag or etag_of(body, sizes),
                last_modified=EPOCH + self._versions if last_modified is None else last_modified,
                version_id=f"v{self._versions}",
                part_sizes=sizes,
                checksums=stored,
                checksum_type=checksum_type if checksum else "",
                storage_class=storage_class,
                restored=restored,
                encryption=encryption,
            )
            self._sorted = None
            return made

    def delete(self, key: str) -> None:
        """Remove the object; a key that is not there is no error, as in S3."""
        with self._lock:
            self.objects.pop(key, None)
            self._sorted = None

    def list_also(self, listed: ListedObject) -> None:
        """Show this entry on the last page of every listing, whatever the bucket holds."""
        self._extra.append(listed)

    def script(self, key: str, *faults: Fault, method: str | None = None) -> None:
        """The next requests of this key (only GET or only HEAD with `method`) meet the faults."""
        self._scripts.setdefault((key, method), deque()).extend(faults)

    def script_list(self, *faults: Fault) -> None:
        """The next listings meet the faults, one each; made with `fail.at_page` mostly."""
        self._list_script.extend(faults)

    def script_check(self, *faults: Fault) -> None:
        """The next checks meet the faults, one each."""
        self._check_script.extend(faults)

    def list_empty(self, times: int = 1) -> None:
        """The next listings say, with a good answer, that the bucket is empty."""
        self._empty_listings += times

    def list_unordered(self) -> None:
        """Listings come in another order than the keys' (as S3 Express gives them)."""
        self._unordered = True

    def list_before(self, hook: Callable[[], object]) -> None:
        """The next listing is made whole, then `hook` is called, and only then a page is seen."""
        self._before_showing = hook

    # The port

    def list(self, prefix: str = "", start_after: str = "") -> Iterator[ListingPage]:
        hook, self._before_showing = self._before_showing, None
        if hook is not None:
            found = list(self._pages(prefix, start_after))
            hook()
            yield from found
        else:
            yield from self._pages(prefix, start_after)

    def _pages(self, prefix: str, start_after: str) -> Iterator[ListingPage]:
        empty, fault = self._begin_listing()
        after, number = start_after, 0
        while True:
            number += 1
            self._count("list", None)
            if fault and fault.page in (None, number):
                self.suffer(fault)
            objects, last = ((), True) if empty else self._page(prefix, after)
            if objects:
                after = objects[-1].key
            extra = tuple(self._extra) if last and not empty else ()
            shown = tuple(reversed(objects)) if self._unordered else objects
            yield ListingPage(objects=shown + extra, last=last)
            if last:
                return

    def channel(self, max_in_flight: int) -> Channel:
        return FakeChannel(self, max_in_flight)

    def parts(self, key: str, etag: str, count: int) -> tuple[int, ...]:
        self._count("parts", None)
        with self._lock:
            found = self._find(key)
            if found.etag != etag:
                raise PreconditionFailed(f"{key!r} is another version by now")
            return () if self.parts_unknown else found.part_sizes

    def head(self, key: str) -> ObjectHead:
        request = ObjectRequest(key=key, method="HEAD")
        fault = self.take(request)
        if fault:
            self.suffer(fault)
        head, _ = self.serve(request)
        return replace(head, **fault.head_changes) if fault else head

    def check(self, timeout_seconds: float) -> None:
        self._count("check", None)
        fault = self._take_from(self._check_script)
        if fault and fault.stalls:
            time.sleep(timeout_seconds)
            raise TransferStalled("scripted stall")
        if fault:
            self.suffer(fault)

    def elsewhere(self) -> BucketElsewhere | None:
        return None  # it is in the memory of this process

    def close(self) -> None:
        self.closed = True

    # What the channel asks of the server side

    def take(self, request: ObjectRequest) -> Fault | None:
        """Count a request and take the fault that is scripted for it."""
        self._count(request.method.lower(), request)
        with self._lock:
            for method in (request.method, None):
                script = self._scripts.get((request.key, method))
                if script and _covers(request, script[0]):
                    return self._take_from(script)
        return None

    def suffer(self, fault: Fault) -> None:
        """Meet a fault where there is no body. Raises: whatever is scripted."""
        if fault.hook:
            fault.hook()
        if fault.until:
            fault.until.wait()
        if fault.stalls:
            time.sleep(self.stall_seconds)
            raise TransferStalled("scripted stall")
        if fault.error:
            raise fault.error

    def serve(self, request: ObjectRequest) -> tuple[ObjectHead, bytes]:
        """Answer as S3 does: archive, conditions, part, range. Raises: BucketError."""
        with self._lock:
            found = self._find(request.key)
        if request.method == "GET" and not found.readable:
            raise ObjectArchived(f"{request.key!r} is in {found.storage_class}")
        if request.if_match not in (None, found.etag, "*"):
            raise PreconditionFailed(f"{request.key!r} is another version by now")
        if request.if_none_match in (found.etag, "*"):
            return replace(found.head(304, 0, 0, None), size=len(found.body)), b""
        first, length, status = _extent(request, found)
        head = found.head(status, first, length, request.part_number)
        body = b"" if request.method == "HEAD" else found.body[first : first + length]
        return head, body

    def _find(self, key: str) -> FakeObject:
        found = self.objects.get(key)
        if found is None:
            raise ObjectMissing(f"{key!r} does not exist")
        return found

    def _count(self, kind: str, request: ObjectRequest | None) -> None:
        with self._lock:
            self.counts[kind] += 1
            if request is not None:
                self.requests.append(request)
        if self.outage is not None:
            raise self.outage

    def _begin_listing(self) -> tuple[bool, Fault | None]:
        with self._lock:
            if self._empty_listings:
                self._empty_listings -= 1
                return True, None
            return False, self._take_from(self._list_script)

    def _page(self, prefix: str, after: str) -> tuple[tuple[ListedObject, ...], bool]:
        with self._lock:
            if self._sorted is None:
                self._sorted = sorted(key.encode() for key in self.objects)
            start = bisect_right(self._sorted, after.encode()) if after else 0
            if prefix:
                start = max(start, bisect_left(self._sorted, prefix.encode()))
            page = self._sorted[start : start + self.page_size + 1]
            keys = [key.decode() for key in page]
            inside = [key for key in keys if key.startswith(prefix)]
            shown = inside[: self.page_size]
            return tuple(self.objects[key].listed(key) for key in shown), len(inside) == len(shown)

    def _take_from(self, script: deque[Fault]) -> Fault | None:
        with self._lock:
            if not script:
                return None
            fault = script.popleft()
            if fault.times > 1:
                script.appendleft(replace(fault, times=fault.times - 1))
            return fault


def _covers(request: ObjectRequest, fault: Fault) -> bool:
    """A flipped byte waits for the request that carries it."""
    if fault.wrong_at is None or request.first is None:
        return True
    last = request.last if request.last is not None else fault.wrong_at
    return request.first <= fault.wrong_at <= last


def _extent(request: ObjectRequest, found: FakeObject) -> tuple[int, int, int]:
    """First byte, length and status of what the request asks for."""
    size = len(found.body)
    if request.part_number is not None:
        sizes = found.part_sizes or (size,)
        if request.part_number > len(sizes):
            raise RangeUnsatisfiable(f"{request.key!r} has {len(sizes)} parts")
        first = sum(sizes[: request.part_number - 1])
        return first, sizes[request.part_number - 1], 206
    if request.first is None:
        return 0, size, 200
    if request.first >= size:
        raise RangeUnsatisfiable(f"{request.key!r} has {size} bytes")
    last = size - 1 if request.last is None else min(request.last, size - 1)
    return request.first, last - request.first + 1, 206
