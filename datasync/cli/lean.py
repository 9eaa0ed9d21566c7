"""What the libraries of a command would load, and no command needs: a sixth of a short one's time.

Only for the command's own process, before anything else is loaded: a program that imports the
package keeps its libraries as they are.
"""

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def load_less() -> None:
    """Keep the libraries from looking for what none of our lines and values use."""
    # Pydantic reads what each installed distribution says of itself, in case one is a plugin.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    with _unavailable("rich", "colorama", "better_exceptions"):
        importlib.import_module("structlog")  # with these it has tracebacks that we have no use for


@contextmanager
def _unavailable(*names: str) -> Iterator[None]:
    """While open, these cannot be imported, unless they are already."""
    missing = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(missing))  # type: ignore[arg-type]  # None: not to be found
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]
