"""The ledger's tables, and how values of the engine become values of a database and back.

Keys, paths and prefixes are stored as their UTF-8 bytes, so that order is byte order on every
database and every character is legal, NUL included. Knows no connection and no transaction.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    text,
)

from datasync.errors import KeyRejected
from datasync.models.sync_models import OutcomeStatus

# Written out, not bound: a database uses a partial index only for a condition it can read.
IS_FAILING = "state IN ('failed', 'rejected', 'stale')"
IS_UNSYNCED = "state <> 'synced'"
IS_FAILED_OUTCOME = f"status = '{OutcomeStatus.FAILED.value}'"


def encode(key: str) -> bytes:
    """The stored form of a key, prefix or path.

    Raises: KeyRejected when it is not UTF-8 (lone surrogates).
    """
    try:
        return key.encode()
    except UnicodeEncodeError as error:
        raise KeyRejected(f"{ascii(key)} is not UTF-8") from error


def successor(prefix: bytes) -> bytes | None:
    """The least byte string after everything that starts with `prefix`; None if there is none."""
    head = prefix.rstrip(b"\xff")
    return head[:-1] + bytes([head[-1] + 1]) if head else None


def plain(words: str | None) -> str | None:
    """Free text that every database accepts: NUL and lone surrogates are written as escapes."""
    if words is None or words.isprintable():
        return words
    return words.encode(errors="backslashreplace").decode().replace("\x00", "\\x00")


class ByteText(TypeDecorator[str]):
    """Text stored as its UTF-8 bytes: BLOB on SQLite, BYTEA on PostgreSQL."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | bytes | None, dialect: Dialect) -> bytes | None:
        """Bytes pass as they are: the end of a key range need not be text."""
        return encode(value) if isinstance(value, str) else value

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:
        return None if value is None else bytes(value).decode()


# The indexes are partial on PostgreSQL too, as the migrations make them; to say it here as well
# would load its dialect in every process.
metadata = MetaData()
_identity = BigInteger().with_variant(Integer, "sqlite")

objects = Table(
    "objects",
    metadata,
    Column("key", ByteText, primary_key=True),
    Column("etag", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("last_modified", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("path", ByteText),
    Column("local_size", BigInteger),
    Column("mtime_ns", BigInteger),
    Column("version_id", Text),
    Column("verdict", String(16)),
    Column("reason", Text),
    Column("seen_etag", Text),
    Column("synced_at", Double),
    Index(
        "objects_failing",
        "key",
        sqlite_where=text(IS_FAILING),
    ),
    Index(
        "objects_unsynced",
        "key",
        sqlite_where=text(IS_UNSYNCED),
    ),
    sqlite_with_rowid=False,
)

dirty = Table(
    "dirty",
    metadata,
    Column("key", ByteText, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("marks", BigInteger, nullable=False),
    Column("first_seen", Double, nullable=False),
    Column("last_seen", Double, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("not_before", Double, nullable=False),
    Column("last_error", Text),
    Column("happened", Double),
    Column("last_happened", Double),
    Column("events", Integer, nullable=False, server_default=text("1")),
    Column("traceparent", Text),
    Index("dirty_due", "not_before", "first_seen"),
    Index("dirty_oldest", "first_seen"),
    Index(
        "dirty_failing",
        "key",
        sqlite_where=text("last_error IS NOT NULL"),
    ),
    sqlite_with_rowid=False,
)

RUN_COUNTS = (
    "listed",
    "planned",
    "downloaded",
    "deleted",
    "adopted",
    "unchanged",
    "skipped",
    "failed",
    "bytes",
    "bytes_planned",
    "drift",
)

runs = Table(
    "runs",
    metadata,
    Column("id", _identity, primary_key=True, autoincrement=True),
    Column("kind", String(16), nullable=False),
    Column("prefix", ByteText, nullable=False),
    Column("status", String(16), nullable=False),
    Column("requested", Double, nullable=False),
    Column("started", Double),
    Column("finished", Double),
    Column("error", Text),
    Column("hint", Text),
    Column("deletes_planned", BigInteger, nullable=False, server_default=text("0")),
    Column("cancel_requested", Boolean, nullable=False),
    Column("approved", Boolean, nullable=False),
    *(Column(name, BigInteger, nullable=False, server_default=text("0")) for name in RUN_COUNTS),
    Index("runs_status", "status"),
    sqlite_autoincrement=True,  # ids are never given twice, also after a prune
)

planned_deletes = Table(
    "planned_deletes",
    metadata,
    Column("run_id", BigInteger, primary_key=True, autoincrement=False),
    Column("key", ByteText, primary_key=True),
    Column("etag", Text, nullable=False),
    sqlite_with_rowid=False,
)

outcomes = Table(
    "outcomes",
    metadata,
    Column("id", _identity, primary_key=True, autoincrement=True),
    Column("key", ByteText, nullable=False),
    Column("operation", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("message", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("run_id", BigInteger),
    Column("bytes", BigInteger, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("verdict", String(16)),
    Column("error", Text),
    Column("hint", Text),
    Column("lag_seconds", Double),
    Column("event_lag_seconds", Double),
    Index("outcomes_key", "key"),
    Index("outcomes_run", "run_id"),
    Index(
        "outcomes_failed",
        "run_id",
        sqlite_where=text(IS_FAILED_OUTCOME),
    ),
    Index(
        "outcomes_lag",
        "id",
        sqlite_where=text("lag_seconds IS NOT NULL"),
    ),
    sqlite_autoincrement=True,
)

# One row, if the ledger lies elsewhere than in the mirror that it belongs to.
mirror = Table(
    "mirror",
    metadata,
    Column("only", Integer, primary_key=True, autoincrement=False),
    Column("mirror_id", Text, nullable=False),
    Column("folder", Text, nullable=False),
)

# What was done in each minute (since the epoch) of the last days; sums, of lag the greatest too.
activity = Table(
    "activity",
    metadata,
    Column("minute", BigInteger, primary_key=True, autoincrement=False),
    Column("downloaded", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("deleted", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("events", BigInteger, nullable=False),
    Column("lag_ms", BigInteger, nullable=False),
    Column("most_lag_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Downloads on their way, as the engine saw them at the time `noted`.
transfers = Table(
    "transfers",
    metadata,
    Column("key", ByteText, primary_key=True),
    Column("size", BigInteger),
    Column("received", BigInteger, nullable=False),
    Column("started", Double, nullable=False),
    Column("run_id", BigInteger),
    Column("noted", Double, nullable=False),
    sqlite_with_rowid=False,
)

# Running totals, so that health and statistics never scan: "state.synced", "files", "bytes",
# "event.queued", "source.http.s3", "lag.le.0.5", ...; "marks" is the number of the latest mark,
# "last_event" when it came, in milliseconds.
figures = Table(
    "figures",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
