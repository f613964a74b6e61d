"""A browser without a window, driven as a person would: keys, a phone's width, light and dark.

It speaks Chromium's DevTools protocol over a pipe: JSON with a NUL behind each message.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
)
KEYS = {"Enter": 13, "Tab": 9, "Escape": 27, " ": 32, "ArrowDown": 40}
SECONDS = 90


def program() -> str:
    """A browser's program; a test that needs one skips without it."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser found; install one of {', '.join(BROWSERS)}")
    return found


class Browser:
    """One tab. `complaints` is what its console was told, blocked requests included."""

    def __init__(self, program: str, profile: Path) -> None:
        theirs, self._out = os.pipe()
        self._in, their_out = os.pipe()
        # Chromium reads descriptor 3 and writes 4; a shell puts ours there.
        command = f'exec "$0" "$@" 3<&{theirs} 4>&{their_out}'
        self._process = subprocess.Popen(
            ["bash", "-c", command, program, *FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(theirs, their_out),
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.close(their_out)
        self._buffer, self._number, self._session = b"", 0, None
        self.complaints: list[str] = []
        made = self.call("Target.createTarget", url="about:blank")
        attached = self.call("Target.attachToTarget", targetId=made["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for part in ("Page", "Runtime", "Log"):
            self.call(f"{part}.enable")

    def close(self) -> None:
        os.close(self._out)
        os.close(self._in)
        self._process.terminate()
        self._process.wait(20)

    def call(self, method: str, **parameters):
        """The result of a command. Raises RuntimeError with the browser's message."""
        self._number += 1
        order = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            order["sessionId"] = self._session
        os.write(self._out, json.dumps(order).encode() + b"\0")
        while True:
            said = self._read()
            if said.get("id") == self._number:
                if "error" in said:
                    raise RuntimeError(f"{method}: {said['error']['message']}")
                return said["result"]

    def _read(self):
        while b"\0" not in self._buffer:
            part = os.read(self._in, 2**16)
            if not part:
                raise RuntimeError("the browser has ended")
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        said = json.loads(line)
        kind, told = said.get("method"), said.get("params", {})
        if kind == "Log.entryAdded" and told["entry"]["level"] != "verbose":
            self.complaints.append(told["entry"]["text"])
        if kind == "Runtime.exceptionThrown":
            self.complaints.append(str(told["exceptionDetails"]))
        if kind == "Runtime.consoleAPICalled":
            self.complaints.append(str(told["args"]))
        return said

    def run(self, script: str):
        """The value of an expression in the page."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in done:
            raise RuntimeError(f"{script}: {done['exceptionDetails']}")
        return done["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until an expression holds."""
        end = time.monotonic() + SECONDS
        while not self.run(f"Boolean({condition})"):
            if time.monotonic() > end:
                raise TimeoutError(f"{condition} did not come true: {self.run(TEXT)}")
            time.sleep(0.05)

    def open(self, url: str) -> None:
        self.complaints.clear()
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def press(self, key: str, shift: bool = False) -> None:
        text = {"Enter": "\r", " ": " "}.get(key, "")
        code = KEYS[key]
        same = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": 8 * shift}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **same)
        self.call("Input.dispatchKeyEvent", type="keyUp", **same)

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def tab_to(self, name: str) -> None:
        """Press Tab until the element with that id has the focus."""
        for _ in range(40):
            if self.run("document.activeElement.id") == name:
                return
            self.press("Tab")
        raise AssertionError(f"Tab does not lead to #{name}")


TEXT = "document.body.innerText"
