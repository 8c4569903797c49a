"""``raymlops``: the command line."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from raymlops import __version__
from raymlops.cli import carried, control, delivery, ledger
from raymlops.cli.feature_store import definitions, features
from raymlops.cli.monitoring import monitor
from raymlops.cli.operating import console, garbage, keys, lifecycle
from raymlops.cli.projects import init, lab, replay
from raymlops.cli.registry import models, score
from raymlops.cli.running import batch, runs

__all__ = ["app", "main"]

app = typer.Typer(
    name="raymlops", no_args_is_help=True, add_completion=False, help="Keeps a model right after it ships."
)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"raymlops {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Keeps a model right after it ships."""


lifecycle.add_to(app)
carried.add_to(app)
definitions.add_to(app)
garbage.add_to(app)
lab.add_to(app)
init.add_to(app)
replay.add_to(app)
console.add_to(app)
score.add_to(app)
app.add_typer(features.app, name="features")
app.add_typer(runs.app, name="runs")
app.add_typer(models.app, name="models")
app.add_typer(batch.app, name="batch")
app.add_typer(monitor.app, name="monitor")
app.add_typer(control.app, name="control")
app.add_typer(ledger.app, name="ledger")
app.add_typer(delivery.app, name="delivery")
app.add_typer(keys.app, name="keys")


def main() -> None:
    """Entry point of the ``raymlops`` script; SIGTERM ends a command as Ctrl-C does, so it stops what it started."""
    signal.signal(signal.SIGTERM, _end)
    app()


def _end(number: int, _: object) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
