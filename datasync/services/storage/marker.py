"""`.datasync/mirror.json`: says, once and for all, of which bucket a folder is the mirror.

It keeps a service that was pointed at the wrong folder from emptying it, and tells the folder
from the bare mount point below it. Knows no bucket, only its identity as a text.
"""

import json
import os
import stat
from dataclasses import asdict, dataclass
from typing import Any

from datasync.errors import ConfigurationError, MirrorUnavailable
from datasync.services.storage.directories import Directories, look
from datasync.services.storage.paths import INTERNAL, split
from datasync.services.storage.staging import Staging

MARKER = f"{INTERNAL}/mirror.json"
FORMAT = 1
_MAX_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Marker:
    """What the marker file says. `created` is in seconds since the epoch."""

    bucket: str  # identity of bucket, endpoint and prefix
    mirror_id: str
    created: float
    format: int = FORMAT


def read_marker(directories: Directories) -> Marker | None:
    """The marker, None when there is none. Raises: ConfigurationError, MirrorError, OSError."""
    folder, name = split(MARKER)
    try:
        handle = directories.open(folder)
    except FileNotFoundError:
        return None
    found = look(name, handle)
    if found is None:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise MirrorUnavailable(f"{MARKER!r} is not a file")
    descriptor = os.open(
        name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=handle
    )
    try:
        return _parsed(os.read(descriptor, _MAX_BYTES))
    finally:
        os.close(descriptor)


def prove_marker(directories: Directories, wanted: Marker | None) -> None:
    """Raises: MirrorUnavailable, when the folder is not, or no longer, the mirror that is meant."""
    try:
        found = read_marker(directories)
    except ConfigurationError as error:
        raise MirrorUnavailable(str(error), hint=error.hint) from error
    if found is None or wanted is None or found.mirror_id != wanted.mirror_id:
        raise MirrorUnavailable("the mirror's folder is not the one that was prepared")
    if found.bucket != wanted.bucket:
        raise MirrorUnavailable(
            f"the mirror's folder was made the mirror of {found.bucket} by another process",
            hint="Stop this service, or start it again with the settings of that bucket.",
        )


def write_marker(
    directories: Directories, staging: Staging, marker: Marker, *, durable: bool, over: bool
) -> None:
    """Write the marker whole or not at all. Raises: FileExistsError without `over`, OSError."""
    with staging.stage() as staged:
        staged.write(json.dumps(asdict(marker), indent=2).encode() + b"\n")
        staged.seal()
        if durable:
            staged.sync()
        folder, name = split(MARKER)
        handle = directories.open(folder)
        place = staging.calls.replace if over else staging.calls.rename_new
        place(staged.name, staging.folder, name, handle)
        staged.published()
    directories.touched.update((folder, ""))


def _parsed(text: bytes) -> Marker:
    try:
        said: Any = json.loads(text)
        marker = Marker(
            bucket=str(said["bucket"]),
            mirror_id=str(said["mirror_id"]),
            created=float(said["created"]),
            format=int(said["format"]),
        )
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(
            f"{MARKER} cannot be read",
            hint="Start once with --adopt to make this folder the mirror of this bucket.",
        ) from None
    if marker.format > FORMAT:
        raise ConfigurationError(
            f"{MARKER} is of format {marker.format}, this version knows {FORMAT}",
            hint="Use the newer version of DataSync that made this mirror.",
        )
    return marker


def of_another_bucket(known: str, wanted: str) -> ConfigurationError:
    """The error of a folder that was made the mirror of another bucket."""
    return ConfigurationError(
        f"LOCAL_DOWNLOAD_DIR is the mirror of {known}, not of {wanted}",
        hint="Choose another folder, or start once with --adopt to make it the mirror of this one.",
    )
