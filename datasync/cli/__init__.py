"""The `datasync` command. Each module holds one subject; `entry` puts them together.

Together with `app` the only part that reads settings. Holds no rule of the engine: it asks the
same parts that HTTP asks, and shows what they say.
"""

import gc
import sys
from collections.abc import Sequence
from typing import NoReturn

# A start makes some hundred thousand objects that stay: to look through them for garbage, again for
# every 700 new ones and once more at the end, would take a fifth of a short command's time.
NEW_OBJECTS = 20_000


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The console script: run one command and exit with its code."""
    gc.set_threshold(NEW_OBJECTS, *gc.get_threshold()[1:])
    from datasync.cli.entry import run_command

    code = run_command(sys.argv[1:] if arguments is None else arguments)
    gc.freeze()
    sys.exit(code)
