"""A PostgreSQL connection that gives up on a server which takes everything and says nothing.

TCP finds a peer that is gone. It does not find a proxy that hangs or a server that is stopped:
those acknowledge what is sent, and a query that waits for them would wait for ever. Knows no table.
"""

import time
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.errors import ConnectionTimeout

Returned = TypeVar("Returned")


class PatientConnection(psycopg.Connection[Any]):
    """A connection whose calls wait `patience_seconds` for a sign of the server, None: for ever.

    When that time is over the connection is closed, because nobody knows what the server made of
    the call, and the call raises ConnectionTimeout.
    """

    patience_seconds: float | None = None

    def wait(self, gen: PQGen[Returned], *given: Any, **named: Any) -> Returned:
        if self.patience_seconds is None:
            return super().wait(gen, *given, **named)
        try:
            return super().wait(_watched(gen, self.patience_seconds), *given, **named)
        except ConnectionTimeout:
            self.close()
            raise


def _watched(gen: PQGen[Returned], patience_seconds: float) -> PQGen[Returned]:
    """The same generator, which psycopg resumes when the socket is ready and now and then.

    Raises: ConnectionTimeout, when the socket was not ready for too long.
    """
    quiet_since = time.monotonic()
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            now = time.monotonic()
            if ready:
                quiet_since = now
            elif now - quiet_since > patience_seconds:
                raise ConnectionTimeout(f"no answer within {patience_seconds:g} seconds")
            wanted = gen.send(ready)
    except StopIteration as end:
        returned: Returned = end.value
        return returned
