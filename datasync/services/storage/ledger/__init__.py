"""The ledger: the SQL index of what we hold, what must be looked at, and what was done.

Written after the disk is durable; it may lag behind the disk, never lead it. Knows nothing of
S3, of files in the mirror, of settings or of HTTP. One subject a module: `tables`, `objects`,
`dirty`, `settling`, `scope`, `runs`, `plans`, `outcomes`, `failures`, `figures`, `event_figures`,
`activity`, `claim`, `spool`; below them `database` (transactions), `sqlite_backend`, and
`postgres_backend` with its `patience`; `opening` finds the one that a URL means, `migrating`
brings its tables up to date.
"""

from pathlib import Path

from datasync.services.storage.ledger.activity import Activity
from datasync.services.storage.ledger.database import Database
from datasync.services.storage.ledger.dirty import DirtyKeys
from datasync.services.storage.ledger.event_figures import EventFigures, measured
from datasync.services.storage.ledger.failures import Failures
from datasync.services.storage.ledger.figures import Figures
from datasync.services.storage.ledger.objects import Objects, Stretch
from datasync.services.storage.ledger.opening import open_database, sqlite_url
from datasync.services.storage.ledger.outcomes import Outcomes
from datasync.services.storage.ledger.plans import Plans
from datasync.services.storage.ledger.runs import Runs
from datasync.services.storage.ledger.scope import OutsideScope
from datasync.services.storage.ledger.settling import Settling
from datasync.services.storage.ledger.spool import ListingSpool
from datasync.services.storage.ledger.sqlite_backend import SqliteBackend

__all__ = ["Ledger", "ListingSpool", "Stretch", "measured", "sqlite_url"]

BUSY_SECONDS = 10.0


class Ledger(
    Objects,
    DirtyKeys,
    Settling,
    OutsideScope,
    Runs,
    Plans,
    Outcomes,
    Failures,
    Figures,
    EventFigures,
    Activity,
):
    """One ledger, used by many threads; open it in the process that uses it, never before a fork.

    `rebuilt` is true when this opening set a damaged file aside and began an empty ledger.
    """

    def __init__(self, database: Database, rebuilt: bool) -> None:
        self._database = database
        self.rebuilt = rebuilt
        self._prepare_dirty()
        self._prepare_settling()

    @classmethod
    def open(cls, url: str, *, busy_seconds: float = BUSY_SECONDS) -> "Ledger":
        """Open the ledger at a SQLAlchemy URL and bring its tables up to date.

        `sqlite:////folder/ledger.db` (see `sqlite_url`), or postgres://, postgresql:// and
        postgresql+psycopg://.
        A write waits `busy_seconds` for others before LedgerBusy.

        Raises: LedgerError, LedgerBusy, DiskFull.
        """
        return cls(*open_database(url, busy_seconds))

    def relax(self) -> None:
        """Give up what is kept to be quick, until it is wanted again."""
        self._database.relax()

    def close(self) -> None:
        """Close every connection. Later calls raise LedgerError."""
        self._database.close()

    def spool(self) -> ListingSpool:
        """A sorter for one listing that comes in no order; on the disk of a SQLite ledger."""
        backend = self._database.backend
        folder: Path | None = backend.path.parent if isinstance(backend, SqliteBackend) else None
        return ListingSpool(folder)
