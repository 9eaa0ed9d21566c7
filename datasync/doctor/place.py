"""Looks at this machine: the directory, its file system, the ledger, the running service.

Files are made only in a folder of the doctor's own below `.datasync/`, and removed again.
"""

import fcntl
import json
import os
import shutil
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datasync.composition import prepared_mirror
from datasync.config.settings import Settings
from datasync.doctor.lines import Line, failed, passed, warned
from datasync.errors import LeaseHeld
from datasync.services.engine.lease import Lease
from datasync.services.storage.ledger import Ledger

PING_SECONDS = 2.0
_LOCAL = ("127.0.0.1", "::1", "localhost")
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def access(settings: Settings) -> Line:
    """Whether senders on other machines could be let in at all."""
    if settings.api_keys or settings.notification_secret or settings.sns_topic_arns:
        return passed("access", "senders elsewhere can show who they are")
    if settings.api_host in _LOCAL or settings.sqs_queue_url:
        return passed("access", "only this machine is let in")
    return warned(
        "access",
        "only this machine is let in: no function, topic or webhook elsewhere can deliver",
        "Set API_KEYS or NOTIFICATION_SECRET, or take events from a queue with SQS_QUEUE_URL.",
    )


def directory(settings: Settings) -> Line:
    """Whether the mirror's directory is there, writable, and of this bucket."""
    prepared_mirror(settings).close()
    return passed("directory", str(settings.root))


def space(settings: Settings) -> Line:
    """Free space and free inodes, beside what downloads need."""
    found = os.statvfs(settings.root)
    free = 100 * found.f_bavail / max(1, found.f_blocks)
    told = f"{found.f_bavail * found.f_frsize / 2**30:.1f} GiB ({free:.0f} %) are free"
    if found.f_files and found.f_favail / found.f_files < 0.01:
        return warned("disk space", "fewer than 1 % of the inodes are free", "Remove small files.")
    if free < settings.min_free_disk_percent:
        limit = f"MIN_FREE_DISK_PERCENT is {settings.min_free_disk_percent:g}"
        return failed("disk space", f"{told}; downloads are paused", f"Free space: {limit}.")
    return passed("disk space", told)


def file_system(settings: Settings) -> Line:
    """What a mirror needs of its file system, each tried."""
    lacking = []
    with _folder(settings.root) as folder:
        for need, attempt in _NEEDS.items():
            try:
                attempt(folder)
            except OSError as error:
                lacking.append(f"{need} ({error.strerror})")
        insensitive = _ignores_case(folder)
    if lacking:
        return failed(
            "file system",
            f"it cannot do: {', '.join(lacking)}",
            "Keep the mirror on a local Linux file system such as ext4 or XFS.",
        )
    case = "; it ignores case: keys that differ in nothing else get escaped names"
    return passed("file system", f"it does what is needed{case if insensitive else ''}")


@contextmanager
def _folder(root: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="doctor-", dir=root / ".datasync"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _replace(folder: Path) -> None:
    for name in ("old", "new"):
        (folder / name).write_bytes(name.encode())
    os.replace(folder / "new", folder / "old")


def _sync(folder: Path) -> None:
    for path, flags in ((folder / "old", os.O_RDONLY), (folder, os.O_RDONLY | os.O_DIRECTORY)):
        descriptor = os.open(path, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _lock(folder: Path) -> None:
    with open(folder / "old", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _long_name(folder: Path) -> None:
    (folder / ("x" * 255)).touch()


def _odd_name(folder: Path) -> None:
    os.close(os.open(os.fsencode(folder) + b"/\xff\x01 \n", os.O_CREAT | os.O_WRONLY, 0o600))


_NEEDS = {
    "replacing a file": _replace,
    "fsync": _sync,
    "locks": _lock,
    "names of 255 bytes": _long_name,
    "names of any bytes": _odd_name,
}


def _ignores_case(folder: Path) -> bool:
    (folder / "case").touch()
    return (folder / "CASE").exists()


def ledger(settings: Settings) -> Line:
    """Whether the ledger opens, and what it holds."""
    opened = Ledger.open(settings.ledger_url())
    try:
        totals = opened.totals()
    finally:
        opened.close()
    kind = "PostgreSQL" if settings.database_url else "SQLite in the mirror"
    return passed("ledger", f"{kind}: {totals.objects} keys, {totals.pending} pending")


def engine(settings: Settings) -> Line:
    """Whether some process runs the engine."""
    mirror = prepared_mirror(settings)
    lease = Lease(mirror.internal)
    try:
        lease.acquire()
    except LeaseHeld:
        return passed("engine", "a process runs it")
    finally:
        lease.release()
        mirror.close()
    return warned("engine", "no process runs it", "Start the service: datasync serve.")


def service(settings: Settings) -> Line:
    """Whether what answers on our port is this service."""
    host = "127.0.0.1" if settings.api_host in ("0.0.0.0", "::", *_LOCAL) else settings.api_host
    url = f"http://{f'[{host}]' if ':' in host else host}:{settings.api_port}/ping"
    advice = "Start the service: datasync serve."
    try:
        with _DIRECT.open(url, timeout=PING_SECONDS) as answer:
            ours = json.loads(answer.read(1000)) == {"message": "pong"}
    except (OSError, ValueError):
        return warned("service", f"nothing of ours answers on port {settings.api_port}", advice)
    if not ours:
        return failed("service", f"another program has port {settings.api_port}", "Set API_PORT.")
    return passed("service", f"it answers on port {settings.api_port}")
