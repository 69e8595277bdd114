"""Take the picture of a cycle's page that README shows, from a real run.

It needs Chromium (Debian: ``apt-get install chromium``).

    make cycle
    python scripts/page_picture.py --page workspace/cycles/c0001/report.html \\
        --out docs/images/cycle-page.png
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# Nothing is looked up or sent: the page is a file.
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


def take(page: Path, out: Path, width: int, height: int) -> None:
    """Renders the top ``width`` x ``height`` pixels of ``page`` into the PNG ``out``."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        sys.exit("error: no chromium on this machine; install Debian's package chromium")
    if not page.is_file():
        sys.exit(f"error: {page} is no file; run a cycle first, and name its report.html")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [browser, *QUIET, f"--user-data-dir={profile}", f"--window-size={width},{height}",
             f"--screenshot={out.resolve()}", page.resolve().as_uri()],
            check=True, capture_output=True,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--page", type=Path, required=True, help="report.html of a cycle")
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    parser.add_argument("--width", type=int, default=1000)
    parser.add_argument("--height", type=int, default=1130)
    args = parser.parse_args()
    take(args.page, args.out, args.width, args.height)


if __name__ == "__main__":
    main()
