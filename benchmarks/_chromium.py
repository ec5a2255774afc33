"""Headless Chromium by its debugging pipe, which needs no other library: for tests of the web pages, and their pictures.

Messages of the DevTools protocol are JSON, each ended by a zero byte; Chromium reads descriptor 3 and writes descriptor 4.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""
"""where the browser is; empty where there is none"""
PHONE, DESK = 390, 1200
"""widths of pages in CSS pixels"""


class Browser:
    """One page of a browser of its own."""

    def __init__(self, folder: Path, seconds: float = 30.0) -> None:
        """`folder`: where the browser may keep what it likes; `seconds`: that one answer may take at most."""
        self.seconds, self.faults = seconds, list[str]()
        self._next, self._events, self._rest = 0, set[str](), b""
        self._session: dict[str, str] = {}
        heard, self._say = os.pipe()
        self._hear, said = os.pipe()
        flags = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--remote-debugging-pipe",
        ]
        script = f'exec "$@" 3< /proc/self/fd/{heard} 4> /proc/self/fd/{said}'
        command = ["sh", "-c", script, "sh", CHROMIUM, *flags, f"--user-data-dir={folder}", "about:blank"]
        self._process = subprocess.Popen(command, pass_fds=(heard, said), stderr=subprocess.DEVNULL)
        os.close(heard)
        os.close(said)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = {
            "sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        }
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        """End the browser."""
        self._process.kill()
        self._process.wait()
        os.close(self._say)
        os.close(self._hear)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask for one thing and wait for the answer."""
        self._next += 1
        message = {"id": self._next, "method": method, "params": parameters} | self._session
        os.write(self._say, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._next:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        """The next message; events are noted, and what a page did wrong."""
        while b"\0" not in self._rest:
            if not select.select([self._hear], [], [], self.seconds)[0]:
                raise TimeoutError("the browser says nothing")
            part = os.read(self._hear, 1 << 20)
            if not part:
                raise RuntimeError("the browser has ended")
            self._rest += part
        text, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        self._events.add(message.get("method", ""))
        match message:
            case {"method": "Runtime.exceptionThrown", "params": {"exceptionDetails": details}}:
                self.faults.append(str(details))
            case {"method": "Log.entryAdded", "params": {"entry": {"level": "error"} as entry}}:
                self.faults.append(str(entry))
            case _:
                pass
        return message

    def go(self, url: str) -> None:
        """Load a page."""
        self._events.clear()
        self.call("Page.navigate", url=url)
        while "Page.loadEventFired" not in self._events:
            self._read()

    def js(self, expression: str) -> Any:
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def until(self, expression: str, seconds: float = 20.0) -> Any:
        """Wait for an expression to be true; its value."""
        end = time.monotonic() + seconds
        while not (value := self.js(expression)):
            if time.monotonic() > end:
                raise TimeoutError(f"{expression} is {value!r} still")
            time.sleep(0.1)
        return value

    def size(self, width: int, height: int = 900, scale: float = 1.0, dark: bool = False) -> None:
        """How large the window is, in CSS pixels, and which colours its owner likes."""
        window = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **window)
        likes = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=likes)

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press a key and let it go; `code` is its virtual key code, `text` what it writes."""
        for kind in ("keyDown" if text else "rawKeyDown", "keyUp"):
            about = {"key": key, "code": key, "windowsVirtualKeyCode": code, "text": text}
            self.call("Input.dispatchKeyEvent", type=kind, **about)

    def picture(self, path: Path) -> None:
        """The whole page as a PNG."""
        self.js("document.querySelectorAll('img').forEach((image) => { image.loading = 'eager'; })")
        self.until("[...document.images].every((image) => image.complete)")
        area = self.call("Page.getLayoutMetrics")["cssContentSize"] | {"x": 0, "y": 0, "scale": 1}
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=area)
        path.write_bytes(base64.b64decode(found["data"]))


__all__ = ["CHROMIUM", "DESK", "PHONE", "Browser"]
