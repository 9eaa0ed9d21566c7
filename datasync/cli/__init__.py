"""The `datasync` command. Each module holds one subject; `entry` puts them together.

Together with `app` the only part that reads settings. Holds no rule of the engine: it asks the
same parts that HTTP asks, and shows what they say.
"""

import sys
from collections.abc import Sequence
from typing import NoReturn

from datasync.cli import garbage, lean


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The console script: run one command and exit with its code."""
    garbage.put_off()
    lean.load_less()
    from datasync.cli.entry import run_command

    code = run_command(sys.argv[1:] if arguments is None else arguments)
    garbage.leave()
    sys.exit(code)
