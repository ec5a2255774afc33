"""A screen and a keyboard in a terminal: pictures as coloured half blocks, which work over ssh.

Most terminals tell when a key is pressed and repeated but not when it is let go: a key counts as held for a moment after
each of its signals. Those that know the kitty keyboard protocol are asked to tell.
"""

import os
import re
import select
import shutil
import sys
import termios
import time
import tty
from types import TracebackType

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J\x1b[>11u"
_LEAVE = "\x1b[<u\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
_FIRST, _REPEAT, _OTHERS = (
    0.5,
    0.16,
    0.3,
)  # seconds a key counts as held after its first signal, a repeat, another key
_ZOOM = 0.4  # smallest scale at which the game can be played; a smaller terminal shows a part
_FOCUS = (0.45, 0.62)  # where in the picture that part's middle lies
_NAMES = {"A": "up", "B": "down", "C": "right", "D": "left"}
_LETTERS = {
    "w": "up",
    "a": "left",
    "s": "down",
    "d": "right",
    " ": "jump",
    "q": "quit",
    "r": "again",
    "\x03": "quit",
}
_SIGNAL = re.compile(
    r"\x1b\[(\d*)(?:;(\d*)(?::(\d))?)?([ABCDu])|\x1bO([ABCD])|\x1b(?![\[O])|[^\x1b]", re.DOTALL
)


class Keys:
    """Which keys are held, from the signals a terminal sends."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def signal(self, text: str, now: float) -> None:
        """Take in what was read at a time, in seconds."""
        for match in _SIGNAL.finditer(text):
            code, mods, event, final, other = match.groups()
            if final == "u":
                letter = chr(int(code or 0) % 0x110000)
                name = "quit" if letter == "\x1b" or (letter == "c" and mods == "5") else _LETTERS.get(letter)
            elif final or other:
                name = _NAMES[final or other]
            else:
                name = "quit" if match[0] == "\x1b" else _LETTERS.get(match[0].lower())
            if name is not None:
                self._heard(name, event, now)

    def _heard(self, name: str, event: str | None, now: float) -> None:
        if event == "3":
            self._until.pop(name, None)
        elif event is not None:
            self._until[name] = float("inf")
        else:
            for key, until in self._until.items():
                if until > now:  # a terminal repeats only the key pressed last, though others are held
                    self._until[key] = max(until, now + _OTHERS)
            held = self._until.get(name, 0.0) > now
            self._until[name] = now + (_REPEAT if held else _FIRST)
        opposite = {"left": "right", "right": "left"}.get(name)
        if opposite and event != "3":
            self._until.pop(opposite, None)

    def held(self, now: float) -> set[str]:
        """The names of the keys held at a time."""
        return {name for name, until in self._until.items() if until > now}

    def clear(self) -> None:
        """Forget every key."""
        self._until.clear()


def fitted(picture: UInt8[np.ndarray, "H W 3"], columns: int, rows: int) -> UInt8[np.ndarray, "h w 3"]:
    """The picture, or the part around the player, for so many columns and rows of characters of two pixels each."""
    height, width = picture.shape[:2]
    zoom = max(min(columns / width, 2 * rows / height), _ZOOM)
    w, h = min(width, columns / zoom), min(height, 2 * rows / zoom)
    left = float(np.clip(_FOCUS[0] * width - w / 2, 0, width - w))
    top = float(np.clip(_FOCUS[1] * height - h / 2, 0, height - h))
    size = (max(round(w * zoom), 1), max(round(h * zoom) // 2 * 2, 2))
    box = (left, top, left + w, top + h)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX, box=box))


def _codes(pixels: UInt8[np.ndarray, "h w 3"], true_colour: bool) -> Int[np.ndarray, "h w"]:
    """A number for each pixel's colour: 15 bits of red, green and blue, or one of the 216 that every terminal has."""
    if true_colour:
        fine = pixels.astype(np.int64) >> 3
        return fine[..., 0] << 10 | fine[..., 1] << 5 | fine[..., 2]
    coarse = np.round(pixels / 51.0).astype(np.int64)
    return 16 + 36 * coarse[..., 0] + 6 * coarse[..., 1] + coarse[..., 2]


def _paint(code: int, true_colour: bool) -> str:
    if not true_colour:
        return f"5;{code}"
    return f"2;{(code >> 10) * 255 // 31};{(code >> 5 & 31) * 255 // 31};{(code & 31) * 255 // 31}"


def drawn(before: Int[np.ndarray, "h w"] | None, after: Int[np.ndarray, "h w"], true_colour: bool) -> str:
    """What to send to turn one picture, as colour codes, into another: only the characters that differ."""
    upper, lower = after[::2], after[1::2]
    changed = np.ones(upper.shape, bool)
    if before is not None and before.shape == after.shape:
        changed = (before[::2] != upper) | (before[1::2] != lower)
    out, last = list[str](), (-1, -1)
    for y, row in enumerate(changed):
        previous = -2
        for x in np.flatnonzero(row).tolist():
            if x != previous + 1:
                out.append(f"\x1b[{y + 1};{x + 1}H")
            pair = int(upper[y, x]), int(lower[y, x])
            if pair != last:
                out.append(f"\x1b[38;{_paint(pair[0], true_colour)};48;{_paint(pair[1], true_colour)}m")
            out.append("▀")
            previous, last = x, pair
    return "".join(out)


class Terminal:
    """The terminal as a screen: `with Terminal() as screen: screen.show(picture, "a line")`; leaves it as it was found."""

    def __init__(self) -> None:
        self.keys = Keys()
        self._true = os.environ.get("COLORTERM", "") in ("truecolor", "24bit")
        self._shown: np.ndarray | None = None
        self._mode = termios.tcgetattr(sys.stdin)

    def __enter__(self) -> "Terminal":
        tty.setcbreak(sys.stdin)
        self._send(_ENTER)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._send(_LEAVE)
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._mode)

    def _send(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    def show(self, picture: UInt8[np.ndarray, "H W 3"], line: str) -> None:
        """Show a picture above a line of text."""
        columns, rows = shutil.get_terminal_size()
        codes = _codes(fitted(picture, columns, max(rows - 1, 1)), self._true)
        fresh = "" if self._shown is not None and self._shown.shape == codes.shape else "\x1b[0m\x1b[2J"
        text = drawn(self._shown if not fresh else None, codes, self._true)
        self._send(f"{fresh}{text}\x1b[0m\x1b[{rows};1H{line[:columns]}\x1b[K")
        self._shown = codes

    def wait(self, until: float) -> set[str]:
        """Read keys until a moment of `time.monotonic()`; which are held then."""
        while True:
            left = until - time.monotonic()
            if not select.select([sys.stdin], [], [], max(left, 0.0))[0]:
                return self.keys.held(time.monotonic())
            read = os.read(sys.stdin.fileno(), 1024)
            if not read:
                return {"quit"}
            self.keys.signal(read.decode(errors="ignore"), time.monotonic())


__all__ = ["Keys", "Terminal", "drawn", "fitted"]
