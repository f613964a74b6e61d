"""README's picture: the top of a real report, as a browser shows it.

python -m scripts.report_picture runs/demo/report.html    ->  docs/report.png
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from edgetool.errors import EdgetoolError, UsageError
from edgetool.files import building_files

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "report.png"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
WIDTH, HEIGHT = 1100, 640  # pixels of the window


def take(report: Path, picture: Path) -> None:
    """Raises UsageError without a report or a browser, EdgetoolError when there is no picture."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise UsageError(f"no browser here; install one of: {', '.join(BROWSERS)}")
    if not report.is_file():
        raise UsageError(f"{report}: no such report; `edgetool demo` makes one")
    with building_files([picture]) as (part,), tempfile.TemporaryDirectory() as profile:
        png = Path(profile) / "report.png"
        options = (f"--user-data-dir={profile}", f"--window-size={WIDTH},{HEIGHT}")
        command = [browser, *QUIET, *options, f"--screenshot={png}", report.resolve().as_uri()]
        subprocess.run(command, capture_output=True, check=False, timeout=120)
        if not png.is_file():
            raise EdgetoolError(f"{browser} took no picture of {report}")
        shutil.copyfile(png, part)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/report_picture", description=__doc__)
    parser.add_argument("report", type=Path)
    take(parser.parse_args().report, PICTURE)
    print(PICTURE)


if __name__ == "__main__":
    main()
