"""The Lambda forwarder as a file: where its source is, and how it is packed for Lambda.

The function runs in AWS and shares no code with the service; this module only carries it. Knows
no AWS, no settings and no command line.
"""

import io
import zipfile
from pathlib import Path

from datasync.errors import ConfigurationError

FILE_NAME = "s3_lambda_handler.py"
_PACKAGE = Path(__file__).resolve().parent
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the first moment a zip file can hold
_READABLE_FILE = 0o100644 << 16


def handler_file(package: Path = _PACKAGE) -> Path:
    """The source: inside the installed package, or in `lambda/` beside that of a checkout.

    Raises: ConfigurationError.
    """
    places = (package / FILE_NAME, package.parent / "lambda" / FILE_NAME)
    for place in places:
        if place.is_file():
            return place
    raise ConfigurationError(
        f"{FILE_NAME} is neither in the package nor in lambda/ beside it",
        hint="Install DataSync anew, or use a checkout of the project.",
    )


def zipped(source: Path) -> bytes:
    """A zip file that holds the source alone: the same bytes whenever and wherever it is made.

    Stored, not compressed: how well bytes are packed depends on the machine.
    """
    entry = zipfile.ZipInfo(FILE_NAME, _LONG_AGO)
    entry.create_system = 3  # Unix, so that the permissions count
    entry.external_attr = _READABLE_FILE
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(entry, source.read_bytes())
    return buffer.getvalue()
