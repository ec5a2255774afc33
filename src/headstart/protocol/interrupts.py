"""Ctrl-C, honoured between chunks: the first asks the run to save and stop, the second stops at once."""

import contextlib
import os
import signal
import threading
from types import FrameType, TracebackType


class Interrupts:
    """While open, the first interrupt only sets `asked`; outside the main thread it changes nothing."""

    def __init__(self) -> None:
        self.asked = False

    def _note(self, signum: int, frame: FrameType | None) -> None:
        del signum, frame
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        with contextlib.suppress(OSError):  # not print, which may be what was interrupted
            os.write(2, b"\nheadstart: stopping after this chunk; Ctrl-C again stops at once.\n")

    def __enter__(self) -> "Interrupts":
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        if self._main:
            signal.signal(signal.SIGINT, self._before)
