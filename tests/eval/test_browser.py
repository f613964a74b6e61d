"""The page in a real browser: silent console, nothing wider than the screen, light and dark."""

from __future__ import annotations

import re
import subprocess

import pytest

from edgetool.calls.types import Example
from tests.conftest import user
from tests.eval.conftest import arm
from tests.eval.test_report import four_arms, write
from tests.server.browser import Browser, program

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
  const wide = [...frame.contentDocument.querySelectorAll(".scroll, pre, code, dd, figure")]
    .filter((part) => part.scrollWidth > part.clientWidth + 1 && part.clientWidth > 0);
  document.title = "overflow " + (root.scrollWidth - root.clientWidth) + " parts " + wide.length
    + " paper " + getComputedStyle(frame.contentDocument.body).backgroundColor;
}};
</script>"""


@pytest.fixture(scope="module")
def browser() -> str:
    return program()


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
    assert "Requests answered with exactly the right tool calls" in done.stdout
    # The page's own script may run: it shows the button that is hidden without it.
    assert re.search(r'<button id="copy" type="button">', done.stdout)
    # A blocked request or a broken style sheet is reported on the console.
    assert "CONSOLE" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("names", [{}, {"base": "b/" + "x" * 50, "trained": "t/y z.Q4_K_M"}])
def test_nothing_is_wider_than_the_screen(browser, folder, examples, width, dark, names):
    write(folder, four_arms(examples), examples, names=names, metrics=[])
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
    title = r"<title>overflow (-?\d+) parts (\d+) paper (.*?)</title>"
    [(overflow, parts, paper)] = re.findall(title, done.stdout)
    assert int(overflow) <= 0
    assert width > 400 or int(parts) == 0  # every table fits a phone, without being pushed about
    assert paper == ("rgb(20, 23, 26)" if dark else "rgb(253, 253, 251)")


@pytest.mark.slow
def test_the_page_can_be_printed(browser, folder):
    target = folder / "report.pdf"
    page = (folder / "report.html").as_uri()
    run(browser, folder, f"--print-to-pdf={target}", "--no-pdf-header-footer", page)
    assert target.read_bytes().startswith(b"%PDF")


@pytest.fixture
def opened(browser, tmp_path):
    """A report with two rows fixed, one broken and one wrong in all arms."""
    rows = [Example(f"r{i}", user("hello"), (), ()) for i in range(4)]
    write(tmp_path, [arm([0, 0, 1, 0]), arm([1, 1, 0, 0], "trained")], rows)
    tab = Browser(browser, tmp_path / "profile")
    tab.open((tmp_path / "report.html").as_uri())
    yield tab
    tab.close()


VISIBLE = "[...document.querySelectorAll('.example')].filter(e => e.offsetParent).length"


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "count"), [("fixed", 2), ("broken", 1), ("wrong", 1)])
def test_the_buttons_show_one_kind_of_example(opened, kind, count):
    assert opened.run(VISIBLE) == 4
    opened.run(f"document.querySelector('[name=show][value={kind}]').click()")
    assert opened.run(VISIBLE) == count
    opened.run("document.querySelector('[name=show][value=all]').click()")
    assert opened.run(VISIBLE) == 4


def give_clipboard(tab, value):
    tab.run(f"Object.defineProperty(navigator, 'clipboard', {{value: {value}}})")
    tab.run("document.getElementById('copy').click()")
    tab.until("document.getElementById('copied').textContent")
    return tab.run("document.getElementById('copied').textContent")


@pytest.mark.slow
def test_the_figures_are_copied_as_markdown(opened, tmp_path):
    assert (
        give_clipboard(opened, "{writeText: async (text) => { window.copied = text; }}")
        == "Copied."
    )
    assert opened.run("window.copied") == (tmp_path / "report.md").read_text(encoding="utf-8")
    assert opened.complaints == []


@pytest.mark.slow
@pytest.mark.parametrize("value", ["undefined", "{writeText: async () => { throw new Error(); }}"])
def test_without_a_clipboard_the_figures_are_selected(opened, tmp_path, value):
    assert give_clipboard(opened, value) == "Selected; copy it with Ctrl+C."
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert opened.run("getSelection().toString()").strip() == text.strip()
