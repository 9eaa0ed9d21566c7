"""When the interpreter looks for garbage: not while a command loads what it needs, nor at its end.

A start makes some hundred thousand objects that stay. To look through them again for every 700 new
ones, and all of them twice at the end, would take a fifth of a short command's time.
"""

import gc

# More than any command loads; a limit all the same, for a start that goes on and on.
WHILE_LOADING = 200_000
AT_WORK = 20_000

_loading = False


def put_off() -> None:
    """From here on the process loads."""
    global _loading
    _loading = True
    gc.set_threshold(WHILE_LOADING)


def resume() -> None:
    """All is loaded: it is left alone from now on, what comes after is looked through.

    Nothing happens in a process that did not put it off.
    """
    global _loading
    if _loading:
        _loading = False
        gc.freeze()
        gc.set_threshold(AT_WORK)


def leave() -> None:
    """The process ends, and its memory with it."""
    gc.freeze()
