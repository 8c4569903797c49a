"""Pictures for the documentation, made in a browser: nothing is wider than the screen, or breaks the policy.

``pytest -m slow tests/unit/console/test_pictures.py --write-pages`` writes them to docs/images.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.console_pictures import picture_sources, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PAGES = {"loop": "", "model": "/models/churn", "monitoring": "/monitoring/churn", "policy": "/policy/churn"}
SCREENS = {"light": (1200, 900, "light"), "dark": (1200, 900, "dark"), "phone": (390, 844, "light")}
IN_DOCUMENTATION = ("light", "dark")
MOST_BYTES = 150_000
DEADLINE_MS = 120_000.0


@pytest.mark.slow
def test_pictures_of_the_console(tmp_path: Path, pytestconfig: pytest.Config, chromium: Browser) -> None:
    heard: list[str] = []
    taken = {}
    with picture_sources(tmp_path) as sources, served(sources) as address:
        for screen, (width, height, scheme) in SCREENS.items():
            context = chromium.new_context(
                viewport={"width": width, "height": height},
                color_scheme="dark" if scheme == "dark" else "light",
                reduced_motion="reduce",
            )
            for name, place in PAGES.items():
                page = context.new_page()
                page.on("console", lambda message, at=name: heard.append(f"{at}: {message.text}"))
                page.on("pageerror", lambda error, at=name: heard.append(f"{at}: {error}"))
                reply = page.goto(f"{address}{place}", wait_until="load", timeout=DEADLINE_MS)
                assert reply is not None
                assert reply.status == 200, page.inner_text("body")
                assert "This page is not complete" not in page.inner_text("main")
                wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
                assert wide <= 0, f"{name} is {wide} pixels wider than {screen}"
                if name == "policy" and screen != "phone":
                    page.locator("h2", has_text="What other policies").evaluate("it => it.scrollIntoView()")
                taken[name, screen] = tmp_path / f"console-{name}-{screen}.png"
                page.screenshot(path=taken[name, screen], full_page=screen == "phone", timeout=DEADLINE_MS)
                page.close()
            context.close()
    assert heard == []
    pictures = [path for (_, screen), path in taken.items() if screen in IN_DOCUMENTATION]
    assert all(path.stat().st_size < MOST_BYTES for path in pictures), {p.name: p.stat().st_size for p in pictures}
    if pytestconfig.getoption("--write-pages"):
        images = Path(__file__).parents[3] / "docs" / "images"
        images.mkdir(exist_ok=True)
        for path in pictures:
            shutil.copy(path, images / path.name)
