"""axe-core in a page: what WCAG 2.2 A and AA forbid, as far as a program can tell."""

from __future__ import annotations

from importlib.resources import files

from playwright.async_api import Page

AXE = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa"]
OF_COLOURS = ["color-contrast", "link-in-text-block"]
_RUN = """async (options) => (await axe.run(document, options)).violations.flatMap(
  ({ id, nodes }) => nodes.map(
    ({ html, any, all, none }) => `${id}: ${html.slice(0, 160)} · ${[...any, ...all, ...none][0]?.message}`))"""


async def violations(page: Page) -> list[str]:
    """On the page as it stands, in light and in dark. Its context must bypass the policy, which stops axe too."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE)
    await page.emulate_media(color_scheme="light", reduced_motion="reduce")
    light = await page.evaluate(_RUN, {"runOnly": LEVELS})
    await page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    dark = await page.evaluate(_RUN, {"runOnly": OF_COLOURS})
    return [*(f"light: {found}" for found in light), *(f"dark: {found}" for found in dark)]
