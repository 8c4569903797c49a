"""Every ``raymlops`` command that a page tells to type is there, and has the options that stand behind it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from raymlops.cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/guides/*.md")])
_TYPED = re.compile(r"(?:^|`|\$ |&& |\()raymlops ((?:[^`\n|#;)]|\\\n)+)", re.MULTILINE)


def typed(text: str) -> Iterator[list[str]]:
    """The words behind ``raymlops`` in the code of a page."""
    for found in _TYPED.finditer(text):
        try:
            words = shlex.split(found[1].split(" && ")[0].replace("\\\n", " "))
        except ValueError:  # prose with an apostrophe
            continue
        if words and re.fullmatch(r"-?-?[a-z][a-z-]*", words[0]):
            yield words


@cache
def tree() -> Any:
    """All commands; to make them takes a twentieth of a second."""
    return typer.main.get_command(app)


def fault(words: list[str]) -> str | None:
    """What is wrong with a command line; ``None`` where nothing is."""
    command = tree()
    for place, word in enumerate(words):
        inner = getattr(command, "commands", None)
        if not inner or word.startswith("-"):
            break
        if word not in inner:
            return None if word.isupper() else f"raymlops {' '.join(words[: place + 1])}: there is no such command"
        command = inner[word]
    known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)} | {"--help"}
    unknown = [word for word in words if word.startswith("--") and word.partition("=")[0] not in known]
    return f"raymlops {' '.join(words)}: unknown {', '.join(unknown)}" if unknown else None


def test_a_wrong_command_and_a_wrong_option_are_found() -> None:
    page = "Type `raymlops gc --apply`, `raymlops models sell NAME` or `raymlops up --port 8001`; raymlops runs."
    told = [fault(words) for words in typed(page)]
    assert told == [
        "raymlops gc --apply: unknown --apply",
        "raymlops models sell: there is no such command",
        None,
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_tells_to_type_can_be_typed(page: Path) -> None:
    found = [fault(words) for words in typed(page.read_text(encoding="utf-8"))]
    assert [each for each in found if each is not None] == []


def test_the_pages_are_read() -> None:
    assert sum(1 for page in PAGES for _ in typed(page.read_text(encoding="utf-8"))) > 100
