"""The page in a real browser."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.eval.test_report import four_arms, write

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--enable-logging=stderr",
)


@pytest.mark.slow
def test_a_browser_shows_the_page_without_a_complaint(tmp_path, examples):
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser found; install one of {', '.join(BROWSERS)}")
    write(tmp_path, four_arms(examples), examples)
    page = (tmp_path / "report.html").as_uri()
    command = [browser, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "Tool calls, before and after training" in done.stdout
    # A blocked request or a broken style sheet is reported on the console.
    assert "CONSOLE" not in done.stderr
