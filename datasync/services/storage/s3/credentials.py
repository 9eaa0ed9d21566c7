"""Where credentials come from: given keys, or botocore's standard chain, renewed as they expire.

The chain is environment, shared files and profiles, SSO, web identity, container and instance
roles. It is built at the first use, never at import. Must not know: requests, signing, settings.
"""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from datasync.errors import CredentialsRejected
from datasync.services.storage.s3.signing import Credentials

if TYPE_CHECKING:
    from botocore.credentials import Credentials as BotocoreCredentials

RECHECK_SECONDS = 1.0
NOTHING_FOUND = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role; "
    "AWS_NO_SIGN_REQUEST=true reads a public bucket."
)


class CredentialSource(Protocol):
    """Gives the credentials to sign with now. Called for every request, from any thread."""

    def __call__(self) -> Credentials:
        """The same object as long as nothing changed. Raises: CredentialsRejected."""

    def renew(self) -> bool:
        """S3 refused what was given: look for newer ones; whether there may be any."""


def source(
    access_key: str | None = None,
    secret_key: str | None = None,
    token: str | None = None,
    *,
    unsigned: bool = False,
    profile: str | None = None,
) -> CredentialSource | None:
    """Given keys win, then the chain, in that profile if one is named; None (sign nothing) when
    `unsigned`."""
    if unsigned:
        return None
    if access_key and secret_key:
        return GivenCredentials(Credentials(access_key, secret_key, token or None))
    return ChainCredentials(lambda: _resolve(profile))


def _resolve(profile: str | None) -> "BotocoreCredentials | None":
    from botocore.session import Session

    return Session(profile=profile).get_credentials()


class GivenCredentials:
    """One set, for good."""

    def __init__(self, given: Credentials) -> None:
        self._given = given

    def __call__(self) -> Credentials:
        return self._given

    def renew(self) -> bool:
        return False


class ChainCredentials:
    """Botocore's chain. Asks it again once a second at most, so the hot path takes no lock."""

    def __init__(
        self,
        resolve: "Callable[[], BotocoreCredentials | None]",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resolve = resolve
        self._clock = clock
        self._lock = threading.Lock()
        self._chain: BotocoreCredentials | None = None
        self._frozen: Credentials | None = None
        self._failure: CredentialsRejected | None = None
        self._fresh_until = float("-inf")
        self._begun_at = float("-inf")

    def __call__(self) -> Credentials:
        frozen = self._frozen
        if frozen is not None and self._clock() < self._fresh_until:
            return frozen
        with self._lock:
            if self._clock() >= self._fresh_until:
                self._refresh()
            if self._failure is not None:
                raise CredentialsRejected(str(self._failure), hint=self._failure.hint)
            assert self._frozen is not None
            return self._frozen

    def renew(self) -> bool:
        """Begin the chain anew: botocore reads the files of a profile only once.

        Requests that were under way together are refused together; the chain begins anew once.
        """
        with self._lock:
            if self._clock() >= self._begun_at + RECHECK_SECONDS:
                self._chain, self._fresh_until = None, float("-inf")
        return True

    def _refresh(self) -> None:
        """Take what the chain gives now, or its failure, for the next second.

        Failures are kept too: a chain that waits for an unreachable role server must be asked
        once, not once for every request.
        """
        try:
            found, self._failure = self._ask(), None
            if found != self._frozen:
                self._frozen = found
        except CredentialsRejected as failure:
            self._frozen, self._failure = None, failure
        self._fresh_until = self._clock() + RECHECK_SECONDS

    def _ask(self) -> Credentials:
        """Botocore renews by itself what is about to expire."""
        try:
            if self._chain is None:
                self._begun_at = self._clock()
                self._chain = self._resolve()
            found = self._chain.get_frozen_credentials() if self._chain is not None else None
        except Exception as error:  # the chain's providers raise whatever they like
            problem = f"the AWS credential chain failed: {type(error).__name__}"
            raise CredentialsRejected(problem) from error
        if found is None or not found.access_key or not found.secret_key:
            self._chain = None
            raise CredentialsRejected("no AWS credentials found", hint=NOTHING_FOUND)
        return Credentials(found.access_key, found.secret_key, found.token or None)
