"""Looks at the service that should be running: does it answer, is it this one, how is it?

Asks only this machine, at API_PORT, and follows no proxy. Knows the wire, not the engine.
"""

import os
from pathlib import Path
from typing import Any

import httpx

from datasync.client.address import address_of
from datasync.client.errors import ClientSetupError
from datasync.config.settings import Settings
from datasync.doctor.findings import Finding, failed, passed, skipped, warned
from datasync.errors import ConfigurationError
from datasync.models.access import Right
from datasync.models.s3_models import HealthStatus

ANSWER_SECONDS = 5.0
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
OTHERS_ADVICE = "Stop what uses the port, or set API_PORT to a free one."


class ServiceChecks:
    """Checks of the service at API_PORT. Each method is one check; `service` comes first.

    `needed`: it is a failure, not a warning, when none runs.
    """

    def __init__(self, settings: Settings, needed: bool = False) -> None:
        self._settings = settings
        self._needed = needed
        self.is_ours = False
        host = EVERYWHERE.get(settings.api_host, settings.api_host)
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{settings.api_port}"

    def service(self) -> Finding:
        """Whether this very service answers at API_PORT."""
        try:
            pong = self._get("/ping")
        except httpx.ConnectError:
            return self._none()
        except httpx.HTTPError as error:
            return failed(f"{self.url} does not answer: {type(error).__name__}", OTHERS_ADVICE)
        if not _is_pong(pong):
            return failed(f"{self.url} is served by another program", OTHERS_ADVICE)
        return self._compared()

    def _none(self) -> Finding:
        text = f"no service answers at {self.url}"
        if self._needed:
            return failed(f"{text}, and --canary needs one", "Start it: datasync serve.")
        return warned(text, "Start it: datasync serve.")

    def _compared(self) -> Finding:
        """Whose service it is, by its settings."""
        answer = self._get("/sync/config")
        if answer.status_code == 401:
            return self._locked()
        theirs = _document(answer)
        mirror = str(theirs.get("local_download_dir", ""))
        bucket, prefix = theirs.get("s3_bucket_name"), theirs.get("s3_prefix")
        settings = self._settings
        if (bucket, prefix) != (settings.s3_bucket_name, settings.s3_prefix):
            return failed(
                f"{self.url} is a DataSync of another bucket or prefix: {bucket!r}, {prefix!r}",
                OTHERS_ADVICE,
            )
        if not _is_same(Path(mirror).absolute(), settings.root):
            return failed(f"{self.url} is a DataSync of another directory: {mirror}", OTHERS_ADVICE)
        self.is_ours = True
        return passed(f"{self.url} answers, for this bucket and directory")

    def _locked(self) -> Finding:
        text = f"a DataSync answers at {self.url}, but does not take our key"
        advice = "Set DATASYNC_API_KEY, or DATASYNC_API_KEY_FILE, to a key that may read."
        if self._needed:
            return failed(text, advice)
        return warned(text, advice) if self._secret() else skipped(f"{text}. {advice}")

    def health(self) -> Finding:
        """What it says of itself."""
        if not self.is_ours:
            return skipped("no service of ours answers")
        report = _document(self._get("/sync/health"))
        state = "in sync" if report.get("in_sync") else "not in sync"
        text = f"{report.get('status')}, {state}: {report.get('message')}"
        if report.get("status") == HealthStatus.HEALTHY:
            return passed(text)
        advice = "See: datasync status."
        unhealthy = report.get("status") == HealthStatus.UNHEALTHY
        return failed(text, advice) if unhealthy else warned(text, advice)

    def _secret(self) -> str:
        """The caller's own, else one of the service's that may read and is not a hash only."""
        found = (key for key in self._settings.access_keys if Right.READ in key.role.rights)
        return self._own_key() or next((key.secret for key in found if key.secret), "")

    def _own_key(self) -> str:
        """That of DATASYNC_API_KEY, by which other commands ask a service. Raises: as they do."""
        try:
            return address_of(self.url).key or ""
        except ClientSetupError as error:
            raise ConfigurationError(error.detail, hint=error.hint) from error

    def _get(self, path: str) -> httpx.Response:
        secret = self._secret()
        headers = {b"X-API-Key": secret.encode()} if secret else {}
        with httpx.Client(trust_env=False, timeout=ANSWER_SECONDS) as client:
            return client.get(f"{self.url}{path}", headers=headers)


def _is_pong(answer: httpx.Response) -> bool:
    return answer.status_code == 200 and _document(answer) == {"message": "pong"}


def _document(answer: httpx.Response) -> dict[str, Any]:
    """The JSON object in an answer; empty when there is none."""
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)
