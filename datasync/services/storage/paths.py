"""Key -> path, the only place that turns one into the other (DESIGN section 8).

Total for every legal S3 key and injective: two keys never share a path. Pure: touches no disk.
A stored name that starts with `%FF` is an escaped one:

    %FF                     an empty segment
    %FF%2E, %FF%2E%2E       `.` and `..`
    %FF.datasync            a first segment of that name: the folder is ours
    %FF~<sha256>~<start>    a segment that is too long for a file name
    %FF=<stored name>       the other home of a file whose own name is taken by a folder
    %FF<escaped>            a segment with NUL, or one that itself starts with `%FF`

In `<escaped>`, `%` and NUL are percent-encoded, and so is a leading `=` or `~`: without that,
`=x<NUL>` would be stored under the name that the other home of `x%00` has.
"""

import hashlib

from datasync.errors import KeyRejected, MirrorError

INTERNAL = ".datasync"
MAX_KEY_BYTES = 1024  # Amazon S3 user guide, "Naming Amazon S3 objects"
MAX_NAME_BYTES = 255  # NAME_MAX of every file system that matters
_ESCAPE = "%FF"
_CONFLICT = "%FF="
_MAX_STORED_BYTES = MAX_NAME_BYTES - len(_CONFLICT)  # an escaped name leaves room for `%FF=`
_DOTS = {"": _ESCAPE, ".": "%FF%2E", "..": "%FF%2E%2E"}


def path_for(key: str) -> str:
    """The path of a key's file, relative to the root, segments joined by `/`.

    Raises: KeyRejected (empty, longer than 1,024 bytes, or not UTF-8).
    """
    if _is_plain(key):
        return key
    _check_key(key)
    segments = key.split("/")
    stored = [_stored(segment) for segment in segments]
    if segments[0] == INTERNAL:
        stored[0] = _ESCAPE + INTERNAL
    return "/".join(stored)


def conflict_path_for(key: str) -> str:
    """The other home of a key's file, in the same folder, when a folder has its name.

    Raises: KeyRejected.
    """
    return conflict_of(path_for(key))


def keys_above(key: str) -> list[str]:
    """The keys whose files would be in the way of this key's folders: `a`, `a/b` for `a/b/c`."""
    segments = key.split("/")
    names = ["/".join(segments[:depth]) for depth in range(1, len(segments))]
    return [name for name in names if name]


def conflict_of(path: str) -> str:
    """The `%FF=` name beside a path that `path_for` returned."""
    folder, slash, name = path.rpartition("/")
    return folder + slash + conflict_name(name)


def conflict_name(name: str) -> str:
    """The `%FF=` form of one stored name."""
    if _size(name) > _MAX_STORED_BYTES:
        name = _shortened(name)
    return _CONFLICT + name


def check_path(path: str) -> None:
    """Refuse what `path_for` cannot have returned: it would leave the root or enter our folder.

    Raises: MirrorError.
    """
    if not is_path(path):
        raise MirrorError(f"{path!r} is not a path of the mirror")


def is_path(path: str) -> bool:
    """Whether `path_for` may have returned it."""
    return not is_ours(path) and not any(map(_is_illegal, path.split("/")))


def is_ours(path: str) -> bool:
    """Whether a path is that of our own folder, or of something in it."""
    return path == INTERNAL or path.startswith(f"{INTERNAL}/")


def split(path: str) -> tuple[str, bytes]:
    """A path's folder ("" is the root) and the name in it, as the bytes on disk.

    Names found on disk that are not UTF-8 come, and go, as surrogate escapes.
    """
    folder, _, name = path.rpartition("/")
    return folder, name.encode(errors="surrogateescape")


def join(folder: str, name: str) -> str:
    """The path of a name in a folder; "" is the root."""
    return f"{folder}/{name}" if folder else name


def _is_plain(key: str) -> bool:
    """Whether a key is its own path at first sight: most are."""
    return (
        0 < len(key) <= MAX_NAME_BYTES
        and key.isascii()
        and key[0] not in "/."
        and key[-1] != "/"
        and "//" not in key
        and "/." not in key
        and _ESCAPE not in key
        and "\0" not in key
    )


def _check_key(key: str) -> None:
    if not key:
        raise KeyRejected("the key is empty")
    try:
        size = _size(key)
    except UnicodeEncodeError:
        raise KeyRejected(f"the key {key!r} is not UTF-8") from None
    if size > MAX_KEY_BYTES:
        raise KeyRejected(f"the key {key[:40]!r}... has {size} bytes, over {MAX_KEY_BYTES}")


def _stored(segment: str) -> str:
    if segment in _DOTS:
        return _DOTS[segment]
    limit, name = MAX_NAME_BYTES, segment
    if "\0" in segment or segment.startswith(_ESCAPE):
        limit, name = _MAX_STORED_BYTES, _ESCAPE + _percent_encoded(segment)
    return _shortened(segment) if _size(name) > limit else name


def _percent_encoded(segment: str) -> str:
    encoded = segment.replace("%", "%25").replace("\0", "%00")
    if encoded[0] in "=~":
        encoded = f"%{ord(encoded[0]):02X}{encoded[1:]}"
    return encoded


def _shortened(segment: str) -> str:
    """`%FF~` + sha256 + `~` + a start for the reader's eye, cut between characters."""
    whole = segment.encode()
    head = f"{_ESCAPE}~{hashlib.sha256(whole).hexdigest()}~"
    start = whole[: _MAX_STORED_BYTES - len(head)].decode(errors="ignore")
    return head + start.replace("%", "_").replace("\0", "_")


def _is_illegal(segment: str) -> bool:
    try:
        size = _size(segment)
    except UnicodeEncodeError:
        return True
    return segment in _DOTS or "\0" in segment or size > MAX_NAME_BYTES


def _size(text: str) -> int:
    return len(text.encode())
