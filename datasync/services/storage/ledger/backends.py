"""What the ledger wants of a database: that in which SQLite and PostgreSQL differ.

The rest of the ledger is the same code for both. Knows no table and no value of the engine.
"""

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from sqlalchemy import Connection, Engine, Table

from datasync.errors import DataSyncError

if TYPE_CHECKING:  # a dialect is loaded with the backend that speaks it
    from sqlalchemy.dialects import postgresql, sqlite

Insert: TypeAlias = "sqlite.Insert | postgresql.Insert"


class Backend(Protocol):
    """One kind of database."""

    driver_errors: tuple[type[Exception], ...]

    def engine(self) -> Engine:
        """A new engine; connects when it is first used."""

    def relax(self, engine: Engine) -> None:
        """Give up what connections that nobody uses keep in this process."""

    def check(self) -> None:
        """Raises: LedgerError when the database in use is no longer the one at the URL."""

    def writing(self) -> Any:
        """Context in which this process may begin a write.

        Raises: LedgerBusy.
        """

    def begin_write(self, connection: Connection, durable: bool, turn: str | None) -> None:
        """Begin; `turn` names a lock under which only one writer at a time works."""

    def written(self, connection: Connection) -> None:
        """Keep house behind a write that is committed; what goes wrong here is no error."""

    def begin_snapshot(self, connection: Connection) -> None:
        """Begin a read in which several statements see the same state."""

    def insert(self, table: Table) -> Insert:
        """An insert that knows ON CONFLICT."""

    def translate(self, error: Exception) -> DataSyncError:
        """Our error for one of SQLAlchemy's or the driver's, without secrets."""


def first_line(error: Exception) -> str:
    """What the driver said, in one line."""
    cause = getattr(error, "orig", None) or error
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__
