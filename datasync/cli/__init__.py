"""The `datasync` command. Each module holds one subject; `entry` puts them together.

Together with `app` the only part that reads settings. Holds no rule of the engine: it asks the
same parts that HTTP asks, and shows what they say.
"""

from datasync.cli.entry import app, main

__all__ = ["app", "main"]
