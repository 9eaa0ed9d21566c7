"""Lets a command end in good order when it is told to, however that is told."""

import signal
import threading
from types import FrameType
from typing import Any, Self


class Termination:
    """While inside, SIGTERM and SIGHUP end a command as Ctrl-C does; `came` says that one did.

    A hang-up, of a terminal or a session, is passed on as SIGTERM: who handles that handles both.
    After a SIGTERM it is no second stop, which would cut the first one's cleaning up short: at the
    end of a session both are sent. One that is ignored stays so: `nohup` asks for that.
    """

    def __init__(self) -> None:
        self.came = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # no other may set a handler
            self._previous = {signal.SIGTERM: signal.signal(signal.SIGTERM, self._end)}
            if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
                self._previous[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._hang_up)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self.came = True
        raise KeyboardInterrupt

    def _hang_up(self, _number: int, _frame: FrameType | None) -> None:
        if not self.came:
            signal.raise_signal(signal.SIGTERM)
