"""Takes the screenshots of the README anew, of a demo that runs: python scripts/screenshots.py http://127.0.0.1:8787

Needs what the browser tests need: playwright, and Debian's Chromium at $CHROMIUM or where Debian puts it.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import sync_playwright

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "screenshots"
SIZE = {"width": 1280, "height": 800}


@dataclass(frozen=True)
class Shot:
    name: str
    path: str
    scheme: str = "light"


def shots(runs: list[dict[str, str]]) -> list[Shot]:
    of_agent = {run["agent_name"]: f"/runs/{run['run_id']}" for run in runs}
    refund, trip = of_agent["support-refund-agent"], of_agent["trip-planner"]
    return [
        Shot("run-dark", f"{refund}#step-9", "dark"),
        Shot("run-light", f"{trip}#step-1/request"),
        Shot("diff-light", f"{refund}#step-10/diff"),
        Shot("runs-light", "/runs"),
        Shot("costs-light", "/costs?by=agent"),
        Shot("settings-dark", "/settings/redaction", "dark"),
        Shot("welcome-light", "/welcome"),
    ]


def main(origin: str) -> None:
    with urllib.request.urlopen(f"{origin}/api/agent-runs?kind=all", timeout=10) as answer:
        wanted = shots(json.load(answer)["runs"])
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for shot in wanted:
            page = chromium.new_page(viewport=SIZE, color_scheme=shot.scheme)  # type: ignore[arg-type]
            page.goto(origin + shot.path)
            if "#step-" in shot.path:
                page.locator("#detail .db:not(:has-text('Loading…'))").wait_for()
            page.screenshot(path=FOLDER / f"{shot.name}.png")
            print(FOLDER / f"{shot.name}.png")
            page.close()
        chromium.close()


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"))
