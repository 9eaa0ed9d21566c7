"""Makes the parts of one process from the settings and wires them, without HTTP.

What the service and the command line have in common. Importing it reads no environment and
makes nothing.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from datasync.config.settings import Settings
from datasync.controllers.equality import ProofRule, read_facts
from datasync.controllers.health import HealthCheck
from datasync.controllers.sync_controller import SyncController
from datasync.errors import DiskFull
from datasync.models.sync_models import RunKind, RunStatus
from datasync.services.file_service import FileService
from datasync.services.s3_sync_service import S3SyncService
from datasync.services.storage.bucket import Bucket, S3Bucket
from datasync.services.storage.ledger import Ledger
from datasync.services.storage.mirror import Mirror
from datasync.services.storage.s3 import credentials
from datasync.services.storage.s3.endpoint import S3Config


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

    def close(self) -> None:
        """Free connections and descriptors. Starts and stops nothing."""
        with ExitStack() as stack:
            stack.callback(self.mirror.close)
            stack.callback(self.ledger.close)
            stack.callback(self.bucket.close)


def compose(
    settings: Settings,
    *,
    adopt: bool = False,
    make_bucket: "Callable[[Settings], Bucket] | None" = None,
) -> Components:
    """Make and wire the parts; S3 is not asked anything.

    `adopt` takes over a directory that mirrored another bucket.

    Raises: ConfigurationError, MirrorError, LedgerError; nothing is left open then.
    """
    options = settings.sync_options()
    with ExitStack() as undo:
        bucket = (make_bucket or s3_bucket)(settings)
        undo.callback(bucket.close)
        mirror = Mirror(
            settings.root, durable=options.durable, min_free_percent=options.min_free_percent
        )
        undo.callback(mirror.close)
        mirror.prepare(bucket_identity=bucket_identity(settings), adopt=adopt)
        ledger = Ledger.open(settings.ledger_url())
        undo.callback(ledger.close)
        if adopt:
            disprove(ledger)
        service = S3SyncService(bucket, mirror, ledger, options)
        files = FileService(ledger, mirror, bucket)
        rule = ProofRule(settings.sync_interval_hours * 3600, settings.enable_periodic_sync)
        facts = partial(read_facts, ledger, options.prefix, rule)
        health = HealthCheck(
            facts, str(settings.local_download_dir), bucket.check, lambda: disk_worry(mirror)
        )
        controller = SyncController(
            service, files, ledger, options, facts, health, settings.redacted()
        )
        undo.pop_all()
    return Components(settings, bucket, mirror, ledger, service, files, controller)


def disprove(ledger: Ledger) -> None:
    """Record that what was proved of the mirror was proved of another bucket."""
    now = time.time()
    run, _ = ledger.request_run(RunKind.RECONCILE, "", now, join=False)
    reason = "the directory was taken over with --adopt"
    ledger.finish_run(run.id, RunStatus.INTERRUPTED, now, error=reason)


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
            ca_bundle=str(settings.aws_ca_bundle) if settings.aws_ca_bundle else None,
            timeout_seconds=settings.download_timeout_seconds,
        )
    )


def bucket_identity(settings: Settings) -> str:
    """What a directory mirrors, in words that stay the same as long as it is the same."""
    server = settings.endpoint_url or "aws"
    return f"{server} s3://{settings.s3_bucket_name}/{settings.s3_prefix}"


def disk_worry(mirror: Mirror) -> str | None:
    """What is worth a look although the mirror can be used. Raises: MirrorError."""
    try:
        mirror.check()
    except DiskFull as error:
        return f"downloads are paused: {error}"
    return None
