"""How often one client may ask for what is expensive, and guess a key. Knows no route.

Counted in the memory of each process: with several workers a client may get that many times as
much, never less. What is counted is forgotten after two windows.
"""

import ipaddress
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated

from fastapi import Depends, Request
from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.types import Scope

from datasync.errors import TooManyRequests

# For one client and process; far above what people and schedules ask for.
RUNS = RateLimitItemPerMinute(300, namespace="runs")  # each may list the whole bucket
LISTINGS = RateLimitItemPerMinute(1200, namespace="listings")  # each asks S3
WAITS = RateLimitItemPerMinute(600, namespace="waits")  # each asks the ledger until it ends
GUESSES = RateLimitItemPerMinute(60, namespace="guesses")  # wrong keys and signatures
_CLIENT = "client"


class Rates:
    """Counts by client; belongs to the event loop."""

    def __init__(self) -> None:
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def allow(self, limit: RateLimitItem, client: str) -> bool:
        """Whether this one is still within the limit; it counts if it is."""
        return self._limiter.hit(limit, client)

    def spend(self, limit: RateLimitItem, client: str) -> None:
        """Count one more. Raises: TooManyRequests, with the time until there is room again."""
        if not self.allow(limit, client):
            reset, _ = self._limiter.get_window_stats(limit, client)
            # A window that begins anew still counts all of the last one, a little less each moment.
            left = max(0.0, reset - time.time()) + limit.get_expiry() / limit.amount
            raise TooManyRequests(
                f"more than {limit.amount} in a minute from this client", retry_after_seconds=left
            )


def know_client(scope: Scope, key: bytes | None) -> None:
    """Remember whose request this is: by the key it showed, and by the address it came from."""
    name = address_of(scope) if key is None else f"{address_of(scope)} {key.hex()[:16]}"
    scope.setdefault("datasync", {})[_CLIENT] = name


def client_of(scope: Scope) -> str:
    """Whom a request is counted for."""
    return str(scope.get("datasync", {}).get(_CLIENT) or address_of(scope))


def address_of(scope: Scope) -> str:
    """The peer's address as the server tells it, of IPv6 the network: one host has all of it.

    Behind a proxy that is the proxy's, unless the server was told to believe its headers.
    """
    client = scope.get("client")
    return _network_of(client[0]) if client else "local"


@lru_cache(maxsize=1024)
def _network_of(host: str) -> str:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host or "local"
    mapped = getattr(address, "ipv4_mapped", None) or address
    if mapped.version == 4:
        return str(mapped)
    return str(ipaddress.ip_network((mapped, 64), strict=False).network_address) + "/64"


async def _rates(request: Request) -> Rates:
    rates: Rates = request.app.state.rates
    return rates


RatesOf = Annotated[Rates, Depends(_rates)]


def limited(limit: RateLimitItem) -> Callable[..., object]:
    """A dependency of routes whose every request counts."""

    async def spend(request: Request, rates: RatesOf) -> None:
        rates.spend(limit, client_of(request.scope))

    return spend
