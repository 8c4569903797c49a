"""MkDocs hook: adds the pages that are made from the code or lie beside ``docs/``, and turns links to fit the site."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))
import reference

__all__ = ["BESIDE", "on_files", "on_page_markdown", "relinked"]

ROOT = Path(__file__).parents[2]
BESIDE = {
    "index.md": "README.md",
    "changes.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "flights.md": "examples/flights/README.md",
}
"""Page of the site -> the file of the repository that it is."""
_PAGE_OF = {source: page for page, source in BESIDE.items()}
_LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?!https?:|#|mailto:)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are no files of ``docs/``."""
    pages = {page: (ROOT / source).read_text(encoding="utf-8") for page, source in BESIDE.items()}
    pages |= {
        "reference/configuration.md": reference.configuration_page(),
        "reference/project.md": reference.project_page(),
        "reference/cli.md": reference.cli_page(),
    }
    pages["adr/index.md"] = _decisions()
    pages |= {f"reference/api/{package}.md": reference.api_page(package) for package in reference.PACKAGES}
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def _decisions() -> str:
    """The list of the ADRs, newest last."""
    lines = ["# Decisions", ""]
    for path in sorted((ROOT / "docs" / "adr").glob("[0-9]*.md")):
        title = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        lines.append(f"- [{title}]({path.name})")
    return "\n".join(lines) + "\n"


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turn the links of a page."""
    del config
    return relinked(markdown, page.file.src_uri, files)


def relinked(markdown: str, page: str, files: Files) -> str:
    """Links as the repository has them, as the site needs them: what is no page of the site becomes the name alone."""
    source = ROOT / BESIDE[page] if page in BESIDE else ROOT / "docs" / page

    def turn(found: re.Match[str]) -> str:
        target = Path(os.path.normpath(source.parent / found["path"]))
        wanted = _PAGE_OF.get(target.relative_to(ROOT).as_posix())
        if wanted is None and target.is_relative_to(ROOT / "docs"):
            wanted = target.relative_to(ROOT / "docs").as_posix()
        if wanted is None or files.get_file_from_path(wanted) is None:
            return f"`{target.relative_to(ROOT).as_posix()}`" if found["text"].startswith("`") else found["text"]
        to = os.path.relpath(wanted, Path(page).parent)
        return f"[{found['text']}]({to}{found['anchor'] or ''})"

    return _LINK.sub(turn, markdown)
