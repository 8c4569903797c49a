"""``raymlops console``."""

from __future__ import annotations

import webbrowser
from typing import Annotated

import typer

from raymlops.cli.output import ConfigOption, one_line_errors, platform
from raymlops.errors import UnavailableError

__all__ = ["add_to"]


@one_line_errors
def console(
    open_: Annotated[bool, typer.Option("--open", help="Open it in a browser, too.")] = False,
    config: ConfigOption = None,
) -> None:
    """Print the address of the console, the pages that show the running platform."""
    with platform(config) as connected:
        address = f"{connected.url}/console"
    typer.echo(address)
    if open_ and not webbrowser.open(address):
        raise UnavailableError(f"no browser could be opened: open {address} yourself")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(console)
