"""Links of the pages lead to files that are there: modules move, pages stay behind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
MADE = re.compile(r"(?:^|/)reference/(?:configuration|project|cli)\.md$")
"""Pages that the site makes from the code (docs/hooks); the build of the site follows these links."""
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    gone = [
        link
        for link in LINK.findall(page.read_text(encoding="utf-8"))
        if not MADE.search(link) and not (page.parent / link).exists()
    ]
    assert gone == []
