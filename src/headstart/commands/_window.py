"""A screen and a keyboard in a window, by tkinter."""

import time
import tkinter
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import UInt8

_NAMES = {
    "w": "up",
    "a": "left",
    "s": "down",
    "d": "right",
    "space": "jump",
    "q": "quit",
    "r": "again",
    "Up": "up",
    "Down": "down",
    "Left": "left",
    "Right": "right",
    "Escape": "quit",
}
_SETTLE = 0.03  # seconds after which a key let go was not just repeated, as some systems report


class Window:
    """A window as a screen."""

    def __init__(self, title: str, scale: int = 3) -> None:
        self._scale = scale
        self._root = tkinter.Tk()
        self._root.title(title)
        self._root.resizable(False, False)
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()
        self._image: tkinter.PhotoImage | None = None
        self._held: dict[str, float] = {}
        self._root.bind("<KeyPress>", self._pressed)
        self._root.bind("<KeyRelease>", self._released)
        self._root.protocol("WM_DELETE_WINDOW", lambda: self._held.update(quit=float("inf")))

    def __enter__(self) -> "Window":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._root.destroy()

    def _pressed(self, event: Any) -> None:
        name = _NAMES.get(event.keysym, _NAMES.get(event.keysym.lower()))
        if name:
            self._held[name] = float("inf")

    def _released(self, event: Any) -> None:
        name = _NAMES.get(event.keysym, _NAMES.get(event.keysym.lower()))
        if name in self._held:
            self._held[name] = time.monotonic() + _SETTLE

    def show(self, picture: UInt8[np.ndarray, "H W 3"], line: str) -> None:
        """Show a picture; the line of text becomes the title."""
        large = picture.repeat(self._scale, 0).repeat(self._scale, 1)
        head = f"P6 {large.shape[1]} {large.shape[0]} 255 ".encode()
        self._image = tkinter.PhotoImage(data=head + large.tobytes(), format="PPM")
        self._label.configure(image=self._image)
        self._root.title(line)
        self._root.update()

    def wait(self, until: float) -> set[str]:
        """Take in keys until a moment of `time.monotonic()`; which are held then."""
        while True:
            self._root.update()
            left = until - time.monotonic()
            if left <= 0:
                break
            time.sleep(min(left, 0.004))
        now = time.monotonic()
        self._held = {name: end for name, end in self._held.items() if end > now}
        return set(self._held)
