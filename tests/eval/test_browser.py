"""The page in a real browser: silent console, nothing wider than the screen, light and dark."""

from __future__ import annotations

import re
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
# Measures the page in a frame of a phone's width; headless windows have a minimum width.
FRAME = """<!doctype html><title>-</title>
<iframe id="page" src="report.html" style="width:{width}px;height:900px;border:0"></iframe>
<script>
const frame = document.getElementById("page");
frame.onload = () => {{
  const root = frame.contentDocument.documentElement;
  document.title = "overflow " + (root.scrollWidth - root.clientWidth)
    + " paper " + getComputedStyle(frame.contentDocument.body).backgroundColor;
}};
</script>"""


@pytest.fixture(scope="module")
def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser found; install one of {', '.join(BROWSERS)}")
    return found


@pytest.fixture
def folder(tmp_path, examples):
    write(tmp_path, four_arms(examples), examples)
    return tmp_path


def run(browser, folder, *arguments):
    command = [browser, *FLAGS, f"--user-data-dir={folder / 'profile'}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.mark.slow
def test_a_browser_shows_the_page_without_a_complaint(browser, folder):
    done = run(browser, folder, "--dump-dom", (folder / "report.html").as_uri())
    assert "Tool calls, before and after training" in done.stdout
    # A blocked request or a broken style sheet is reported on the console.
    assert "CONSOLE" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_is_wider_than_the_screen(browser, folder, width, dark):
    (folder / "frame.html").write_text(FRAME.format(width=width))
    scheme = "--blink-settings=preferredColorScheme=" + ("0" if dark else "1")
    done = run(
        browser,
        folder,
        "--allow-file-access-from-files",
        "--virtual-time-budget=5000",
        scheme,
        "--dump-dom",
        (folder / "frame.html").as_uri(),
    )
    [(overflow, paper)] = re.findall(r"<title>overflow (-?\d+) paper (.*?)</title>", done.stdout)
    assert int(overflow) <= 0
    assert paper == ("rgb(20, 23, 26)" if dark else "rgb(253, 253, 251)")


@pytest.mark.slow
def test_the_page_can_be_printed(browser, folder):
    target = folder / "report.pdf"
    page = (folder / "report.html").as_uri()
    run(browser, folder, f"--print-to-pdf={target}", "--no-pdf-header-footer", page)
    assert target.read_bytes().startswith(b"%PDF")
