"""``make report-screenshots``: the pictures of README.md, light and dark, of the report that ``make run`` wrote."""

from __future__ import annotations

import tempfile
from pathlib import Path

from browser import NO_BROWSER, Browser, saved

REPORT = Path(__file__).resolve().parents[1] / "data" / "08_reporting" / "report.html"
WIDTH, HEIGHT = 1180, 1240  # to the end of the learning curve


def main() -> None:
    if not Browser.program():
        raise SystemExit(NO_BROWSER)
    if not REPORT.exists():
        raise SystemExit("data/08_reporting/report.html is missing; make run writes it.")
    with tempfile.TemporaryDirectory() as folder, Browser(WIDTH, HEIGHT) as browser:
        browser.open(REPORT.as_uri())
        browser.until("document.readyState === 'complete' && !!document.querySelector('svg')")
        for theme in ("light", "dark"):
            browser.value(f"document.documentElement.setAttribute('data-theme', '{theme}')")
            picture = Path(folder) / f"{theme}.png"
            browser.picture(picture)
            saved(picture, f"report_{theme}")


if __name__ == "__main__":
    main()
