"""One visit of the doctor: which checks there are, in which order they make sense, and their end.

Wires settings, adapters and checks; judges nothing itself.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from datasync import composition
from datasync.config.settings import Settings
from datasync.doctor import ledger_checks, settings_checks
from datasync.doctor.aws import Aws
from datasync.doctor.bucket_checks import BucketChecks
from datasync.doctor.canary import Canary, Flight, History, not_flown
from datasync.doctor.disk_checks import DiskChecks
from datasync.doctor.event_checks import EventChecks
from datasync.doctor.findings import Level, Line, Tell, masked, skipped
from datasync.doctor.probe import CLOSE_SECONDS, ProbeFolder
from datasync.doctor.rounds import Check, Round
from datasync.doctor.service_checks import ServiceChecks
from datasync.models.sync_models import Outcome
from datasync.services.storage.bucket import Bucket
from datasync.services.storage.ledger import Ledger

CANARY_NEEDS = ("server", "list", "directory", "service")


class Visit:
    """Everything one visit holds: clients, a probe folder, the checks. `end` frees it."""

    def __init__(self, settings: Settings, tell: Tell, canary_seconds: float | None) -> None:
        self._settings = settings
        self._canary_seconds = canary_seconds
        self._listener = tell
        self._secrets = settings.secret_values()
        self._bucket: Bucket = composition.s3_bucket(settings)
        self._aws = Aws(settings)
        self._probe = ProbeFolder(settings.root)
        self._ledger = ledger_checks.LedgerCheck(settings)
        self._lines: Mapping[str, Line] = {}

    def go(self) -> None:
        """All checks, then the canary if it was asked for."""
        self._lines = Round(self._checks(), self._tell).run()
        if self._canary_seconds is not None:
            self._fly(self._canary_seconds)

    def _tell(self, line: Line) -> None:
        self._listener(masked(line, self._secrets))

    def end(self) -> None:
        """Free everything, and remove the probe folder. Does not wait for what hangs."""
        closing = threading.Thread(target=self._probe.close, name="doctor probe", daemon=True)
        closing.start()
        closing.join(2 * CLOSE_SECONDS)
        self._aws.close()
        self._bucket.close()

    # The checks

    def _checks(self) -> list[Check]:
        settings = self._settings
        return [
            Check("settings", partial(settings_checks.look_at_settings, settings)),
            Check("access", partial(settings_checks.look_at_access, settings)),
            Check("log file", partial(settings_checks.look_at_log_file, settings)),
            Check("credentials", partial(settings_checks.look_at_credentials, settings)),
            *self._bucket_checks(),
            *self._event_checks(),
            *self._disk_checks(),
            Check("ledger", self._ledger.look),
            *self._service_checks(),
        ]

    def _bucket_checks(self) -> list[Check]:
        checks = BucketChecks(self._settings, self._bucket, self._aws)
        return [
            Check("server", checks.server),
            Check("clock", checks.clock, needs=("server",)),
            Check("list", checks.listing, needs=("server", "credentials")),
            Check("region", checks.region, needs=("server",), after=("list",)),
            Check("read", checks.reading, needs=("list",)),
            Check("checksums", checks.proofs, needs=("read",)),
            Check("attributes", checks.attributes, needs=("read",)),
        ]

    def _event_checks(self) -> list[Check]:
        checks = EventChecks(self._settings, self._aws)
        notifications = Check(
            "notifications", checks.notifications, ("server", "credentials"), after=("queue",)
        )
        if self._settings.sqs_queue_url is None:
            return [notifications, Check("queue", lambda: skipped("SQS_QUEUE_URL is not set"))]
        needs = ("queue",)
        return [
            notifications,
            Check("queue", checks.queue, needs=("credentials",)),
            Check("queue receive", checks.receiving, needs),
            Check("queue delete", checks.deleting, needs),
            Check("queue hide", checks.hiding, needs),
            Check("queue visibility", checks.visibility, needs),
            Check("queue redrive", checks.redrive, needs),
            Check("queue backlog", checks.backlog, needs),
            Check("dead letters", checks.dead_letters, needs),
        ]

    def _disk_checks(self) -> list[Check]:
        checks, needs = DiskChecks(self._settings, self._probe), ("directory",)
        return [
            Check("directory", checks.directory),
            Check("mirror", checks.marker),
            Check("space", checks.space),
            Check("inodes", checks.inodes),
            Check("one disk", checks.one_disk, needs),
            Check("rename", checks.renaming, needs),
            Check("flush", checks.flushing, needs),
            Check("locks", checks.locking, needs),
            Check("names", checks.names, needs),
            Check("letter case", checks.letter_case, needs),
            Check("file times", checks.times, needs),
        ]

    def _service_checks(self) -> list[Check]:
        checks = ServiceChecks(self._settings, needed=self._canary_seconds is not None)
        root = self._settings.root
        lease = partial(ledger_checks.look_at_lease, root, lambda: checks.is_ours)
        return [
            Check("service", checks.service),
            Check("health", checks.health, needs=("service",)),
            Check("lease", lease, after=("service",)),
        ]

    # The canary

    def _fly(self, timeout_seconds: float) -> None:
        for name in CANARY_NEEDS:
            if self._lines[name].finding.level in (Level.FAIL, Level.SKIP):
                return self._tell(not_flown(f"{name!r} is not as the canary needs it"))
        settings = self._settings
        with self._history() as history:
            flight = Flight(
                s3=self._aws.s3(),
                bucket=settings.s3_bucket_name,
                prefix=settings.s3_prefix,
                root=settings.root,
                timeout_seconds=timeout_seconds,
                history=history,
            )
            Canary(flight, self._tell).fly()

    @contextmanager
    def _history(self) -> Iterator[History | None]:
        """The ledger's history of a key; none of a ledger that opening would change."""
        if not self._ledger.is_current:
            yield None
            return
        ledger = Ledger.open(self._settings.ledger_url())
        try:
            yield partial(_last_outcomes, ledger)
        finally:
            ledger.close()


def _last_outcomes(ledger: Ledger, key: str) -> list[Outcome]:
    return ledger.outcomes(key=key, limit=1, failures_first=False)


def visit(settings: Settings, tell: Tell, canary_seconds: float | None = None) -> None:
    """Look at everything the settings name; tells a line for each check as it is done.

    With `canary_seconds` a canary flies at the end, and waits so long for each of its events.

    Raises: KeyboardInterrupt, after everything was removed that was made.
    """
    once = Visit(settings, tell, canary_seconds)
    try:
        once.go()
    finally:
        once.end()
