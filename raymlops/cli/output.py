"""How commands print, and how errors end them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from pydantic import BaseModel
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from raymlops.config.reading.loader import load_config
from raymlops.errors import RaymlopsError
from raymlops.platform import Platform, connect
from raymlops.records.record import canonical_json

__all__ = [
    "ConfigOption",
    "EnvironmentOption",
    "JsonOption",
    "console",
    "one_line_errors",
    "platform",
    "printable",
    "show",
    "show_json",
]

P = ParamSpec("P")
T = TypeVar("T")


class _PlainConsole(Console):
    """A console that prints text as it is: no markup, no emoji codes, and no sequence that a terminal obeys."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Segments of which each character can be printed; styles are added to them later."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text), style, control)


def printable(text: str) -> str:
    """Text without characters that move a terminal's cursor, colour it or reorder it: they are shown as escapes."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each == "\n" else each.encode("unicode_escape").decode() for each in text
    )


console = _PlainConsole()
_errors = _PlainConsole(stderr=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="Configuration file.")]
EnvironmentOption = Annotated[
    str | None, typer.Option("--environment", help="Whose features; left out, those of the platform's own environment.")
]


def one_line_errors(command: Callable[P, T]) -> Callable[P, T]:
    """End a command with one line and exit code 1 where the platform says why it cannot go on."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except RaymlopsError as error:
            message = printable(" ".join(str(error).split()))
            _errors.print(Text.assemble(("error:", "red"), " ", message), soft_wrap=True)
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            _errors.print("interrupted")
            raise typer.Exit(130) from error

    return wrapped


@contextmanager
def platform(config: Path | None = None, environment: str | None = None) -> Iterator[Platform]:
    """The running platform, with the features of an environment; it goes on running afterwards."""
    connected = connect(config=load_config(config), start=False)
    try:
        yield connected if environment is None else connected.in_environment(environment)
    finally:
        connected.detach()


def show_json(value: Any) -> None:
    """Print a value as JSON, records included."""
    typer.echo(canonical_json(value).decode())


def show(rows: Sequence[BaseModel | Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print rows as a table of some columns, or all of them as JSON."""
    plain = [row.model_dump(mode="json") if isinstance(row, BaseModel) else dict(row) for row in rows]
    if as_json:
        show_json(plain)
        return
    table = Table(*columns, box=None, pad_edge=False)
    for row in plain:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    console.print(table)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else printable(str(value)).replace("\n", "\\n")
