"""The process that runs MiniStack for the demo: it ends with the demo, however that ends.

Started as `python -m datasync.demo.child PARENT_PID FOLDER`; removes the folder when it ends.
"""

import ctypes
import os
import runpy
import shutil
import signal
import sys
from types import FrameType

SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG, prctl(2)


def main() -> None:
    """Run MiniStack until it is told to stop or the parent is gone."""
    parent, folder = int(sys.argv[1]), sys.argv[2]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches us too; the parent decides
    signal.signal(signal.SIGTERM, _leave)
    _die_with(parent)
    sys.argv = ["ministack"]
    try:
        runpy.run_module("ministack", run_name="__main__")
    finally:
        _stay()
        shutil.rmtree(folder, ignore_errors=True)


def _leave(_signal: int, _frame: FrameType | None) -> None:
    _stay()
    raise SystemExit(0)


def _stay() -> None:
    """Let no further SIGTERM cut the end short: the kernel sends one for each thread that dies."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _die_with(parent: int) -> None:
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        raise SystemExit(1)


if __name__ == "__main__":
    main()
