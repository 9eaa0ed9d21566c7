"""Credentials that expire: a chain that holds the old set, a server that takes the new one."""

from botocore.credentials import Credentials as BotocoreCredentials

from datasync.services.storage.s3.credentials import ChainCredentials
from tests.support.clocks import StandingClock
from tests.support.scripted_server import Peer, Reply, Seen


def outdated_chain() -> tuple[ChainCredentials, list[BotocoreCredentials]]:
    """A chain with the set OLD in hand for an hour, and what its source still has: NEW."""
    sets = [BotocoreCredentials("OLD", "hush", "t1"), BotocoreCredentials("NEW", "hush", "t2")]
    clock = StandingClock()
    chain = ChainCredentials(lambda: sets.pop(0), clock)
    chain()
    clock.now = 3600.0
    return chain, sets


def guarded(renewed: Reply, outdated: Reply) -> Reply:
    """Answers who signs with NEW, and who still signs with OLD."""

    def reply(peer: Peer, seen: Seen) -> bool:
        is_new = "Credential=NEW/" in seen.headers["authorization"]
        return (renewed if is_new else outdated)(peer, seen)

    return reply
