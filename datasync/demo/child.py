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
ORPHANED = signal.SIGUSR1


def main() -> None:
    """Run MiniStack until it is told to stop or the parent is gone."""
    parent, folder = int(sys.argv[1]), sys.argv[2]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches us too; the parent decides
    signal.signal(signal.SIGTERM, _leave)
    sys.argv = ["ministack"]
    try:
        _end_with(parent)
        runpy.run_module("ministack", run_name="__main__")
    finally:
        _stay()
        shutil.rmtree(folder, ignore_errors=True)


def _leave(_signal: int, _frame: FrameType | None) -> None:
    _stay()
    raise SystemExit(0)


def _stay() -> None:
    """Let nothing cut the end short."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _end_with(parent: int) -> None:
    """Have the kernel say when the parent is gone.

    It says so once for each thread of the parent that dies. MiniStack's server takes SIGTERM and
    gives it back to the system on its way out, where a second one would end us before the folder
    is removed. So the kernel sends a signal that is ours alone, and the first makes one SIGTERM.
    """
    signal.signal(ORPHANED, _orphaned)
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, ORPHANED, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        raise SystemExit(1)


def _orphaned(_signal: int, _frame: FrameType | None) -> None:
    signal.signal(ORPHANED, signal.SIG_IGN)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
