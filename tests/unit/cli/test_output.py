from __future__ import annotations

import io
import re

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Group
from rich.text import Text

from raymlops.cli import output
from raymlops.cli.output import console, one_line_errors, printable, show
from raymlops.errors import ConfigError

NASTY = [
    "[bold]",
    "[/]",
    "[/bold]",
    "[red]a[/red]",
    ":smile:",
    "\\[/]",
    "back\\",
    "\x1b[31m",
    "\x1b]0;title\x07",
    "a\rb",
    "\u202e",
]


@pytest.mark.parametrize("name", NASTY)
def test_a_name_breaks_no_table(capsys: pytest.CaptureFixture[str], name: str) -> None:
    show([{"name": name, "other": 1}, {"name": "plain", "other": 2}], ["name", "other"], as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert printable(name) in lines[1]
    assert [line.rstrip()[-1] for line in lines[1:]] == ["1", "2"]
    assert len({len(line.rstrip()) for line in lines[1:]}) == 1  # the columns are where they were


@pytest.mark.parametrize("name", NASTY)
def test_a_name_breaks_no_error(capsys: pytest.CaptureFixture[str], name: str) -> None:
    @one_line_errors
    def command() -> None:
        raise ConfigError(f"model {name!s} is none\nof ours")

    with pytest.raises(typer.Exit):
        command()
    (line,) = capsys.readouterr().err.splitlines()
    shown = printable(" ".join(f"model {name} is none of ours".split()))
    assert line == f"error: {shown}"


@given(st.text(st.characters(exclude_categories=())))
def test_nothing_that_a_terminal_obeys_is_printed(text: str) -> None:
    shown = io.StringIO()
    held, output.console._file = output.console._file, shown  # its property would pin the stdout of this test
    try:
        console.print(Group(Text(text), text))
        show([{"a": text}], ["a"], as_json=False)
    finally:
        output.console._file = held
    assert all(each.isprintable() or each == "\n" for each in shown.getvalue())


def test_what_is_printable_is_told_apart_from_what_is_not() -> None:
    assert printable("büro: 12 €, [x]\nnext") == "büro: 12 €, [x]\nnext"
    assert printable("\x1b[2J\x9b") == r"\x1b[2J\x9b"
    assert re.fullmatch(r"[ -~]+", printable("\u202e\x00\udc80"))
