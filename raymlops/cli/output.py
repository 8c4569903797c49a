"""How commands print, and how errors end them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from raymlops.config.loader import load_config
from raymlops.errors import RaymlopsError
from raymlops.platform import Platform, connect
from raymlops.records.record import canonical_json

__all__ = ["ConfigOption", "JsonOption", "console", "one_line_errors", "platform", "show", "show_json"]

P = ParamSpec("P")
T = TypeVar("T")

console = Console()
_errors = Console(stderr=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="Configuration file.")]


def one_line_errors(command: Callable[P, T]) -> Callable[P, T]:
    """End a command with one line and exit code 1 where the platform says why it cannot go on."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except RaymlopsError as error:
            _errors.print(f"[red]error:[/red] {' '.join(str(error).split())}", highlight=False, soft_wrap=True)
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            _errors.print("interrupted")
            raise typer.Exit(130) from error

    return wrapped


@contextmanager
def platform(config: Path | None = None) -> Iterator[Platform]:
    """The running platform; it goes on running afterwards."""
    connected = connect(config=load_config(config), start=False)
    try:
        yield connected
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
    return f"{value:.4f}" if isinstance(value, float) else escape(str(value))  # names are no markup
