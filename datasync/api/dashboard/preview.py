"""The beginning of a mirrored file, as text, for its page. What is not text is not shown."""

import codecs
import os
from dataclasses import dataclass

from datasync.controllers.sync_controller import SyncController
from datasync.models.words import byte_text
from datasync.errors import DataSyncError
from datasync.utils.logger import escape_key

SHOWN_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Preview:
    note: str
    text: str


def preview_of(controller: SyncController, key: str) -> Preview | None:
    """None for what is not held, cannot be read now, or is no text."""
    try:
        opened = controller.open(key)
    except DataSyncError:
        return None
    with open(opened.descriptor, "rb", buffering=0) as file:
        data = file.read(SHOWN_BYTES)
        size = os.fstat(file.fileno()).st_size
    text = _text(data, whole=size <= SHOWN_BYTES)
    if text is None:
        return None
    return Preview(
        "all of it" if size <= SHOWN_BYTES else f"its first {byte_text(len(data))}", text
    )


def _text(data: bytes, *, whole: bool) -> str | None:
    """What the bytes say, if they are UTF-8 without the characters of binary files."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(data, final=whole)
    except UnicodeDecodeError:
        return None
    if "\0" in text or not text:
        return None
    return "\n".join(
        "\t".join(map(escape_key, line.rstrip("\r").split("\t"))) for line in text.split("\n")
    )
