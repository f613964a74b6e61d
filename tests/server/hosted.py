"""`edgetool serve` in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.conftest import music_tool, weather_tool


def tools_file(folder: Path) -> Path:
    path = folder / "tools.json"
    path.write_text(json.dumps([weather_tool().as_openai(), music_tool().as_openai()]))
    return path


class Hosted:
    """A server that answers, on a free port.

    said   the lines it printed until then
    """

    def __init__(self, model: Path, *options: str) -> None:
        command = [sys.executable, "-m", "edgetool", "serve", str(model), "--port", "0", *options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.said: list[str] = []

    def __enter__(self) -> Hosted:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.rstrip("\n"))
            if "chat.completions.create" in line:
                break
        [line] = [line for line in self.said if line.startswith("serving ")]
        self.url = line.partition(" at ")[2].partition(" ")[0]
        while not self._answers():
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health").is_success
        except httpx.TransportError:
            return False

    @property
    def processes(self) -> list[int]:
        """The server's, and the one its model is in."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [self.process.pid, *map(int, children.read_text(encoding="ascii").split())]
