"""Where credentials come from: given keys, or botocore's standard chain, renewed as they expire.

The chain is environment, shared files and profiles, SSO, web identity, container and instance
roles. It is built at the first use, never at import. Must not know: requests, signing, settings.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from datasync.errors import CredentialsOutdated, CredentialsRejected
from datasync.services.storage.s3.signing import Credentials

if TYPE_CHECKING:
    from botocore.credentials import Credentials as BotocoreCredentials

RECHECK_SECONDS = 1.0
PATIENCE_SECONDS = 5.0
NOTHING_FOUND = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role; "
    "AWS_NO_SIGN_REQUEST=true reads a public bucket."
)


class CredentialSource(Protocol):
    """Gives the credentials to sign with now. Called for every request, from any thread."""

    def __call__(self, timeout_seconds: float = PATIENCE_SECONDS) -> Credentials:
        """The same object as long as nothing changed.

        Where there are none yet, or no valid ones, it waits until their source has been asked
        for `timeout_seconds`.

        Raises: CredentialsRejected, CredentialsOutdated (there is no answer yet).
        """

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


@dataclass(frozen=True, slots=True)
class GivenCredentials:
    """One set, for good."""

    given: Credentials

    def __call__(self, timeout_seconds: float = PATIENCE_SECONDS) -> Credentials:
        return self.given

    def renew(self) -> bool:
        return False


class ChainCredentials:
    """Botocore's chain. Asks it again once a second at most, so the hot path takes no lock.

    What may have to wait for a network, the chain's beginning and a renewal, happens on a thread
    of its own. Requests are signed with the old set meanwhile. Only when there is none, or it was
    refused, or its time is over, do they wait, and no longer than they say.
    """

    def __init__(
        self,
        resolve: "Callable[[], BotocoreCredentials | None]",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resolve = resolve
        self._clock = clock
        self._answered = threading.Condition()
        self._chain: BotocoreCredentials | None = None
        self._frozen: Credentials | None = None  # the set to sign with
        self._failure: CredentialsRejected | None = None  # what the chain said last, if no set
        self._fresh_until = float("-inf")
        self._renewed_at = float("-inf")  # when the chain was begun, or gave another set
        self._asked_at: float | None = None  # since when a thread has been asking the chain

    def __call__(self, timeout_seconds: float = PATIENCE_SECONDS) -> Credentials:
        frozen = self._frozen
        if frozen is not None and self._clock() < self._fresh_until:
            return frozen
        with self._answered:
            if self._asked_at is None and self._clock() >= self._fresh_until:
                self._look()
            if not self._is_usable():
                self._await_answer(timeout_seconds)
            if self._frozen is None:
                failure = self._failure or CredentialsOutdated("the credentials were refused")
                raise type(failure)(str(failure), hint=failure.hint)
            return self._frozen

    def renew(self) -> bool:
        """Begin the chain anew: botocore reads the files of a profile only once.

        Requests that were under way together are refused together; the chain begins anew once.
        """
        with self._answered:
            if self._clock() >= self._renewed_at + RECHECK_SECONDS:
                self._frozen, self._fresh_until = None, float("-inf")
                if self._asked_at is None:
                    self._chain = None
        return True

    def _is_usable(self) -> bool:
        """Whether there is a set that S3 did not refuse and whose time is not over."""
        return self._frozen is not None and not _is_due(self._chain, 0)

    def _look(self) -> None:
        """Take what the chain has at hand, or have it asked."""
        chain = self._chain
        if chain is not None and not _is_due(chain):
            self._take(*_asked(lambda: chain))
            return
        self._asked_at = self._clock()
        if chain is None:
            self._renewed_at = self._asked_at
        asking = threading.Thread(target=self._ask, args=(chain,), name="credentials", daemon=True)
        try:
            asking.start()
        except RuntimeError as error:  # no threads: asked again in a second
            self._asked_at = None
            self._take(chain, CredentialsOutdated(f"the chain cannot be asked: {error}"))

    def _ask(self, chain: "BotocoreCredentials | None") -> None:
        """On a thread of its own: begin the chain, or let botocore renew what it has."""
        answer = _asked(lambda: chain or self._resolve())
        with self._answered:
            self._asked_at = None
            self._take(*answer)
            self._answered.notify_all()

    def _take(
        self, chain: "BotocoreCredentials | None", answer: Credentials | CredentialsRejected
    ) -> None:
        """Keep what the chain gave, or its failure, for the next second.

        Failures are kept too: a chain that waits for an unreachable role server must be asked
        once, not once for every request. The old set outlives them as long as its time lasts.
        """
        now = self._clock()
        self._chain, self._failure, self._fresh_until = chain, None, now + RECHECK_SECONDS
        if isinstance(answer, CredentialsRejected):
            self._failure = answer
            if chain is None or not self._is_usable():
                self._frozen = None
        elif answer != self._frozen:
            self._frozen, self._renewed_at = answer, now

    def _await_answer(self, timeout_seconds: float) -> None:
        """Wait until the chain has been asked for so long. Raises: CredentialsOutdated."""
        if self._asked_at is None:
            return
        left = self._asked_at + timeout_seconds - self._clock()
        if not self._answered.wait_for(lambda: self._asked_at is None, max(0.0, left)):
            raise CredentialsOutdated(
                f"the AWS credential chain gave no answer within {timeout_seconds:g} seconds"
            )


def _is_due(chain: "BotocoreCredentials | None", seconds: int | None = None) -> bool:
    """Whether temporary credentials end within so many seconds; None: when botocore renews them.

    A set without an end is never due.
    """
    needed = getattr(chain, "refresh_needed", None)
    return bool(needed(refresh_in=seconds)) if needed is not None else False


def _asked(
    begin: "Callable[[], BotocoreCredentials | None]",
) -> "tuple[BotocoreCredentials | None, Credentials | CredentialsRejected]":
    """The chain with the set that it gives now, or with why it gives none."""
    chain = None
    try:
        chain = begin()
        found = chain.get_frozen_credentials() if chain is not None else None
    except Exception as error:  # the chain's providers raise whatever they like
        failure = CredentialsRejected(f"the AWS credential chain failed: {type(error).__name__}")
        failure.__cause__ = error
        return chain, failure
    if found is None or not found.access_key or not found.secret_key:
        return None, CredentialsRejected("no AWS credentials found", hint=NOTHING_FOUND)
    return chain, Credentials(found.access_key, found.secret_key, found.token or None)
