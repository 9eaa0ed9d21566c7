"""Names that others build on: routes, fields, status codes and defaults of the HTTP interface."""

from typing import Any

import pytest

from datasync import errors
from datasync.api.error_responses import STATUS, status_of
from datasync.api.requests import MAX_BODY_BYTES
from datasync.app import create_app
from datasync.errors import DataSyncError
from datasync.models import s3_models
from datasync.models.s3_models import DetailStatus, HealthStatus, SyncStatus

ROUTES = {
    ("GET", "/"): 200,
    ("GET", "/ping"): 200,
    ("GET", "/health/live"): 200,
    ("GET", "/health/ready"): 200,
    ("GET", "/sync/health"): 200,
    ("GET", "/sync/config"): 200,
    ("GET", "/sync/stats"): 200,
    ("POST", "/sync/trigger"): 200,
    ("POST", "/sync/s3-notification"): 202,
    ("GET", "/sync/files"): 200,
    ("GET", "/sync/download/{key}"): 200,
    ("HEAD", "/sync/download/{key}"): 200,
    ("GET", "/sync/runs"): 200,
    ("GET", "/sync/runs/{run_id}"): 200,
    ("POST", "/sync/runs/{run_id}/approve"): 200,
    ("POST", "/sync/runs/{run_id}/cancel"): 200,
    ("GET", "/sync/failures"): 200,
    ("POST", "/sync/failures/retry"): 202,
    ("GET", "/sync/outcomes"): 200,
    ("GET", "/sync/activity"): 200,
    ("GET", "/sync/transfers"): 200,
    ("GET", "/sync/trash"): 200,
    ("POST", "/sync/trash/restore"): 200,
    ("GET", "/api/v1/health"): 200,
    ("GET", "/api/v1/stats"): 200,
    ("GET", "/api/v1/config"): 200,
    ("GET", "/metrics"): 200,
}
PARAMETERS = {
    ("POST", "/sync/trigger"): {"prefix": "", "background": False, "dry_run": False},
    ("POST", "/sync/s3-notification"): {"wait": 0.0},
    ("GET", "/sync/files"): {
        "source": "local",
        "prefix": "",
        "limit": 100,
        "token": None,
        "state": None,
    },
    ("GET", "/sync/runs"): {"limit": 50, "before": None},
    ("GET", "/sync/failures"): {"prefix": "", "limit": 100, "token": None},
    ("GET", "/sync/outcomes"): {
        "key": None,
        "run_id": None,
        "before": None,
        "after": None,
        "limit": 100,
    },
    ("GET", "/sync/activity"): {"span": "hour"},
    ("GET", "/sync/trash"): {"prefix": "", "why": None, "limit": 100, "token": None},
}
FIELDS = {
    "SyncResponse": "status message processed_files successful_operations failed_operations "
    "skipped_files run_id joined in_sync sync_details",
    "SyncDetail": "operation file_key status message",
    "HealthReport": "status message s3_connection download_directory directory_writable timestamp "
    "in_sync pending failed lag_seconds held_run engine",
    "StatsReport": "objects bytes pending failed archived oversize rejected last_run events "
    "events_by_source events_by_type duplicates last_event oldest_pending_seconds "
    "lag_p50 lag_p90 lag_p99 delays drift "
    "deleted_last_hour delete_flood",
    "Delays": "change_to_arrival arrival_to_journal arrival_to_file change_to_file",
    "Delay": "p50 p90 p99",
    "FilePage": "source files next_token",
    "FileEntry": "key size last_modified etag state verdict path",
    "RunPage": "runs next_before",
    "RunReport": "id kind prefix status requested started finished seconds listed downloaded "
    "deleted adopted unchanged skipped failed drift deletes_planned cancel_requested approved "
    "error hint progress",
    "RunProgress": "percent files_done files_planned bytes_done bytes_planned bytes_per_second "
    "eta_seconds",
    "FailurePage": "failures next_token",
    "FailureEntry": "key state reason hint attempts next_try at",
    "ErrorAnswer": "error detail hint",
    "OutcomePage": "outcomes next_before",
    "OutcomeEntry": "id key operation status message at run_id bytes seconds verdict error hint "
    "lag_seconds",
    "ActivityReport": "span step_seconds steps",
    "ActivityStep": "at downloaded bytes deleted failed events lag_seconds most_lag_seconds",
    "TransferList": "transfers",
    "TransferEntry": "key size received started run_id",
    "TrashPage": "files next_token",
    "TrashedFile": "id path size trashed_at why",
    "RestoreRequest": "ids prefix run_id why overwrite",
    "RestoreReport": "message restored",
    "RestoredEntry": "id path error hint stays",
    "Probed": "status",
}
ERROR_STATUS = {
    errors.MalformedRequest: 400,
    errors.ForeignBucket: 400,
    errors.KeyRejected: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.FileMissing: 404,
    errors.RunMissing: 404,
    errors.ObjectMissing: 404,
    errors.RunNotHeld: 409,
    errors.FileDrifted: 409,
    errors.PathConflict: 409,
    errors.PayloadTooLarge: 413,
    errors.UnsupportedMedia: 415,
    errors.PageMissing: 404,
    errors.UnprocessableRequest: 422,
    errors.ConfigurationError: 500,
    errors.AccessDenied: 502,
    errors.CredentialsRejected: 502,
    errors.NetworkFailure: 502,
    errors.TransferStalled: 504,
    errors.LedgerBusy: 503,
    errors.LedgerTaken: 503,
    errors.LedgerError: 503,
    errors.MirrorUnavailable: 503,
    errors.SlowDown: 503,
    errors.DiskFull: 507,
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app().openapi()


def test_the_routes_and_their_success_codes(document: dict[str, Any]) -> None:
    found = {
        (method.upper(), path): min(int(code) for code in operation["responses"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if (method.upper(), path) != ("POST", "/sync/s3-notification")
    }
    assert found == {k: v for k, v in ROUTES.items() if k != ("POST", "/sync/s3-notification")}
    notification = document["paths"]["/sync/s3-notification"]["post"]["responses"]
    assert {"200", "202"} <= set(notification)


def test_every_answer_is_described_in_words_of_ours(document: dict[str, Any]) -> None:
    said = {
        (path, code): answer["description"]
        for path, methods in document["paths"].items()
        for operation in methods.values()
        for code, answer in operation["responses"].items()
    }
    assert [where for where, text in said.items() if text in ("", "Successful Response")] == []


def test_the_parameters_and_their_defaults(document: dict[str, Any]) -> None:
    for (method, path), wanted in PARAMETERS.items():
        found = {
            parameter["name"]: parameter["schema"].get("default")
            for parameter in document["paths"][path][method.lower()]["parameters"]
        }
        assert found == wanted, path


@pytest.mark.parametrize("model", FIELDS)
def test_the_fields(model: str) -> None:
    assert list(getattr(s3_models, model).model_fields) == FIELDS[model].split()


def test_the_words_of_states() -> None:
    assert [*SyncStatus] == ["success", "partial", "failed", "accepted", "held"]
    assert [*HealthStatus] == ["healthy", "degraded", "unhealthy"]
    assert {*DetailStatus} == {"success", "failed", "skipped", "queued", "ignored", "rejected"}


def _tree(kind: type[DataSyncError]) -> list[type[DataSyncError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in _tree(child))]


def test_every_error_has_a_status() -> None:
    for kind in _tree(DataSyncError):
        assert 400 <= status_of(kind("x")) < 600
    for kind, status in ERROR_STATUS.items():
        assert status_of(kind("x")) == status, kind.__name__
    assert STATUS[DataSyncError] == 500


def test_the_bounds() -> None:
    assert MAX_BODY_BYTES == 2**20
    assert s3_models.DETAILS_LIMIT == 1000
