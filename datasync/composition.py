"""Makes the parts of one process from the settings and wires them, without HTTP.

What the service and the command line have in common. Importing it reads no environment and
makes nothing.
"""

import errno
import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from datasync.controllers.equality import EventRule, ProofRule, in_sync, read_facts
from datasync.config.loading import unusable
from datasync.config.settings import Settings
from datasync.controllers.health import HealthCheck
from datasync.controllers.intake import Intake
from datasync.controllers.messages import taker
from datasync.controllers.sync_controller import SyncController
from datasync.controllers.trash import TrashDesk
from datasync.errors import (
    ConfigurationError,
    DataSyncError,
    DiskFull,
    MirrorError,
    MirrorUnavailable,
)
from datasync.models.sync_models import RunKind, RunStatus, Settlement
from datasync.services.events.journal import Journal
from datasync.services.events.sns import SnsGate, https_fetch
from datasync.services.file_service import FileService
from datasync.services.s3_sync_service import S3SyncService
from datasync.services.storage.bucket import Bucket, S3Bucket
from datasync.services.storage.ledger import Ledger
from datasync.services.storage.mirror import Mirror
from datasync.services.storage.s3 import credentials
from datasync.services.storage.s3.endpoint import S3Config
from datasync.telemetry import CLOSE_SECONDS, check_tracer, tracer_of
from datasync.tracing.port import OFF, Tracer
from datasync.utils.logger import configure_logging, get_logger, try_log_file

if TYPE_CHECKING:  # loaded where a queue is configured
    from datasync.services.events.sqs import Queue
    from datasync.services.events.sqs_consumer import QueueConsumer, Take

# What makes a place the wrong one. A full or a failing disk is not the setting's fault.
_WRONG_PLACE = {
    *(errno.EACCES, errno.EEXIST, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT),
    *(errno.ENOTDIR, errno.ENXIO, errno.EPERM, errno.EROFS),
}


@dataclass(frozen=True, slots=True)
class Components:
    """The parts of one process, wired. `close` frees them, after `service.stop`."""

    settings: Settings
    bucket: Bucket
    mirror: Mirror
    ledger: Ledger
    service: S3SyncService
    files: FileService
    controller: SyncController
    journal: Journal
    intake: Intake
    topics: SnsGate
    queue: "Queue | None"
    consumer: "QueueConsumer | None"
    tracer: Tracer = OFF

    def close(self) -> None:
        """Free connections and descriptors. Starts and stops nothing."""
        with ExitStack() as stack:
            stack.callback(self.tracer.close, CLOSE_SECONDS)  # last: the others end spans
            stack.callback(self.mirror.close)
            stack.callback(self.ledger.close)
            stack.callback(self.bucket.close)
            if self.queue is not None:
                stack.callback(self.queue.close)
            stack.callback(self.journal.close)  # first: it writes what waits


def compose(
    settings: Settings,
    *,
    adopt: bool = False,
    traced: bool = True,
    make_bucket: "Callable[[Settings], Bucket] | None" = None,
) -> Components:
    """Make and wire the parts; S3 is not asked anything.

    `adopt` takes over a directory that mirrored another bucket, or the ledger of another directory.
    Not `traced`: for work that is too little to load a tracer for.

    Raises: ConfigurationError, MirrorError, LedgerError; nothing is left open then.
    """
    options = settings.sync_options()
    with ExitStack() as undo:
        bucket = (make_bucket or s3_bucket)(settings)
        undo.callback(bucket.close)
        tracer = tracer_of(settings) if traced else OFF
        undo.callback(tracer.close, CLOSE_SECONDS)
        mirror = prepared_mirror(settings, adopt)
        undo.callback(mirror.close)
        ledger = opened_ledger(settings, mirror)
        undo.callback(ledger.close)
        if ledger.rebuilt:
            get_logger("datasync.ledger").warning(
                "the ledger was damaged: it is set aside, and built anew from files and bucket"
            )
        if settings.database_url is not None:
            ledger.claim(mirror.id, str(settings.root), over=adopt)
        if adopt:
            disprove(ledger)
        if mirror.taken_over:
            forget_plans(ledger)
        service = S3SyncService(bucket, mirror, ledger, options, tracer)
        journal = Journal(ledger, service.wake, tracer=tracer)
        undo.callback(journal.close)
        files = FileService(ledger, mirror, bucket)
        rule = ProofRule(settings.sync_interval_hours * 3600, settings.enable_periodic_sync)
        facts = partial(
            read_facts, ledger, options.prefix, rule, event_rule(settings), options=options
        )
        intake = Intake(journal, ledger, options, lambda: in_sync(facts()))
        queue = sqs_queue(settings)
        queue_name = (settings.sqs_queue_url or "").rpartition("/")[2]
        consumer = queue_consumer(queue, taker(intake, tracer, queue_name)) if queue else None
        health = HealthCheck(
            facts,
            str(settings.local_download_dir),
            bucket.check,
            lambda: disk_worry(mirror),
            mirror.usage,
            lambda: (consumer.problem if consumer else None, service.worry),
            lambda: service.engine_place,
        )
        controller = SyncController(
            service,
            files,
            ledger,
            options,
            facts,
            health,
            settings.redacted(),
            TrashDesk(mirror, ledger),
        )
        undo.pop_all()
    return Components(
        settings=settings,
        bucket=bucket,
        mirror=mirror,
        ledger=ledger,
        service=service,
        files=files,
        controller=controller,
        journal=journal,
        intake=intake,
        topics=SnsGate(
            settings.sns_topic_arns, partial(https_fetch, ca_bundle=_ca_bundle(settings))
        ),
        queue=queue,
        consumer=consumer,
        tracer=tracer,
    )


def sqs_queue(settings: Settings) -> "Queue | None":
    """The configured queue, None without SQS_QUEUE_URL. Connects to nothing."""
    if settings.sqs_queue_url is None:
        return None
    from datasync.services.events.sqs import SqsConfig, SqsQueue

    key, secret = settings.aws_access_key_id, settings.aws_secret_access_key
    token = settings.aws_session_token
    return SqsQueue(
        SqsConfig(
            settings.sqs_queue_url,
            settings.aws_region,
            settings.queue_endpoint_url,
            access_key=key.get_secret_value() if key else None,
            secret_key=secret.get_secret_value() if secret else None,
            token=token.get_secret_value() if token else None,
            profile=settings.aws_profile,
            ca_bundle=_ca_bundle(settings),
        )
    )


def queue_consumer(queue: "Queue", take: "Take") -> "QueueConsumer":
    """What takes a queue's messages to the journal. Starts nothing."""
    from datasync.services.events.sqs_consumer import QueueConsumer

    return QueueConsumer(queue, take, queue_problem)


def _ca_bundle(settings: Settings) -> str | None:
    return str(settings.aws_ca_bundle) if settings.aws_ca_bundle else None


def queue_problem(error: Exception) -> None:
    """A line of the log for what goes wrong with the queue."""
    known = isinstance(error, DataSyncError)
    get_logger("datasync.queue").warning(
        "queue",
        error=type(error).__name__,
        detail=str(error),
        hint=error.hint if isinstance(error, DataSyncError) else None,
        exc_info=None if known else error,
    )


def event_rule(settings: Settings) -> EventRule:
    """Events are expected where something that sends them is configured."""
    told = settings.sqs_queue_url, settings.sns_topic_arns, settings.notification_secret
    return EventRule(settings.lag_limit_seconds, expected=any(told))


def prepared_mirror(settings: Settings, adopt: bool = False) -> Mirror:
    """The directory as the mirror of the bucket; a bare mount point is not made one.

    Raises: ConfigurationError, MirrorError, LedgerError.
    """
    options = settings.sync_options()
    mirror = Mirror(
        settings.root, durable=options.durable, min_free_percent=options.min_free_percent
    )
    try:
        if not adopt and mirror.marked_id() is None:
            _refuse_known_files(settings)
        mirror.prepare(bucket_identity=bucket_identity(settings), adopt=adopt)
    except MirrorError as error:
        if (reason := _wrong_place(error.__cause__)) is None:
            raise
        where = settings.local_download_dir
        raise unusable("local_download_dir", f"{where} cannot be used: {reason}") from None
    return mirror


def _refuse_known_files(settings: Settings) -> None:
    """A ledger that lies elsewhere remembers files: the mirror's own would be gone with them.

    Raises: MirrorUnavailable, ConfigurationError (they are another directory's), LedgerError.
    """
    if settings.database_url is None:
        return
    ledger = Ledger.open(settings.ledger_url())
    try:
        if ledger.count() > 0:
            ledger.refuse_others(str(settings.root))
            raise MirrorUnavailable(
                "LOCAL_DOWNLOAD_DIR is no mirror yet, though the ledger knows the files in it",
                hint="Mount what belongs there; or start once with --adopt to fill it anew.",
            )
    finally:
        ledger.close()


def _wrong_place(error: BaseException | None) -> str | None:
    """What is wrong with the place that an operating system's refusal is about, if it is."""
    if not isinstance(error, OSError) or error.errno not in _WRONG_PLACE:
        return None
    return os.strerror(errno.ENOTDIR if error.errno == errno.EEXIST else error.errno)


def start_logging(settings: Settings, stderr_level: str | None = None) -> None:
    """Send log lines where the settings say.

    Raises: ConfigurationError when LOG_FILE cannot be written where it is.
    """
    try:
        check_log_file(settings)
    except ConfigurationError:
        preflight(settings)  # whoever corrects one wants to hear of all
        raise
    configure_logging(
        settings.log_level,
        settings.log_file,
        settings.log_format,
        secrets=settings.secret_values(),
        stderr_level=stderr_level,
    )


def check_log_file(settings: Settings) -> None:
    """Raises: ConfigurationError when LOG_FILE cannot be written where it is."""
    try:
        if settings.log_file is not None:
            try_log_file(settings.log_file)
    except OSError as error:
        if (reason := _wrong_place(error)) is not None:
            problem = f"{settings.log_file} cannot be written: {reason}"
            raise unusable("log_file", problem) from None


def preflight(settings: Settings) -> None:
    """Try what the settings name on this machine: log file, mirror's directory, sender of traces.

    Raises: ConfigurationError with one line for each that cannot be used; MirrorError.
    """
    problems = []
    attempts: tuple[Callable[[Settings], object], ...] = (
        check_log_file,
        lambda given: prepared_mirror(given).close(),
        check_tracer,
    )
    for attempt in attempts:
        try:
            attempt(settings)
        except ConfigurationError as error:
            problems.append(error)
    if problems:
        raise joined(problems)


def joined(problems: Sequence[ConfigurationError]) -> ConfigurationError:
    """Several errors as one, each on its own line with what can be done about it."""
    return ConfigurationError("\n".join(f"{each}. {each.hint}".rstrip(". ") for each in problems))


def disprove(ledger: Ledger) -> None:
    """Record that what was proved of the mirror was proved of another bucket."""
    now = time.time()
    run, _ = ledger.request_run(RunKind.RECONCILE, "", now, join=False)
    reason = "the directory was taken over with --adopt"
    ledger.finish_run(run.id, RunStatus.INTERRUPTED, now, error=reason)


def opened_ledger(settings: Settings, mirror: Mirror) -> Ledger:
    """The ledger. On a disk too full to bring it up to date, old trash goes first.

    Raises: LedgerError, MirrorError.
    """
    try:
        return Ledger.open(settings.ledger_url())
    except DiskFull:
        if not mirror.prune_trash(settings.sync_options().trash_retention_seconds, time.time()):
            raise
    return Ledger.open(settings.ledger_url())


def forget_plans(ledger: Ledger) -> None:
    """Drop what was planned and heard of another bucket: this one never said so.

    The new bucket answers 404 for all of it, and nobody would be asked. What events told of is
    found by the next reconciliation, which `in_sync` waits for.
    """
    for run in ledger.held_runs():
        reason = "the directory was made the mirror of another bucket"
        ledger.finish_run(run.id, RunStatus.CANCELLED, time.time(), error=reason)
    while marks := ledger.due(math.inf, 1000):
        ledger.settle(Settlement(cleared=tuple(marks)))


def s3_bucket(settings: Settings) -> Bucket:
    """The configured bucket. Raises: ConfigurationError."""
    key, secret = settings.aws_access_key_id, settings.aws_secret_access_key
    token = settings.aws_session_token
    return S3Bucket(
        S3Config(
            bucket=settings.s3_bucket_name,
            region=settings.aws_region,
            endpoint_url=settings.endpoint_url,
            credentials=credentials.source(
                key.get_secret_value() if key else None,
                secret.get_secret_value() if secret else None,
                token.get_secret_value() if token else None,
                unsigned=settings.aws_no_sign_request,
                profile=settings.aws_profile,
            ),
            prefix=settings.s3_prefix,
            ca_bundle=_ca_bundle(settings),
            timeout_seconds=settings.download_timeout_seconds,
        )
    )


def bucket_identity(settings: Settings) -> str:
    """What a directory mirrors, in words that stay the same as long as it is the same."""
    server = settings.endpoint_url or "aws"
    return f"{server} s3://{settings.s3_bucket_name}/{settings.s3_prefix}"


def disk_worry(mirror: Mirror) -> str | None:
    """What is worth a look although the mirror can be used. Raises: MirrorError."""
    full = mirror.check()
    return None if full is None else f"downloads are paused: {full}"
