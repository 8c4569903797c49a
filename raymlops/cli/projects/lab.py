"""``raymlops lab``: does a model on this table go stale, how fast, and what is retraining worth?"""

from __future__ import annotations

import json as json_text
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raymlops import laboratory
from raymlops.cli.options import options_of
from raymlops.cli.output import console, one_line_errors, show
from raymlops.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from raymlops.laboratory import LabReport, Policy

__all__ = ["add_to", "own_policies", "tell", "write_report"]


def add_to(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("lab")(lab)


@dataclass(frozen=True)
class _Asked:
    """A table, and how it is read; the names are those of ``laboratory.intake.table.prepare``."""

    table: Annotated[Path, typer.Argument(help="A Parquet or CSV file.")]
    label: Annotated[str, typer.Option(help="The column to predict.")]
    event_time: Annotated[str, typer.Option("--time", help="The column of instants.")]
    entity: Annotated[list[str] | None, typer.Option(help="A column that says whom a row is about; no input.")] = None
    window: Annotated[str | None, typer.Option(help="Length of a window, as in 7d; left out, a round one.")] = None
    label_delay: Annotated[str | None, typer.Option(help="How long after its row a label comes, as in 1d.")] = None
    label_time: Annotated[str | None, typer.Option(help="The column of when the labels came.")] = None


@one_line_errors
@options_of(_Asked)
def lab(
    asked: _Asked,
    first: Annotated[int | None, typer.Option(help="So many windows to learn from first.")] = None,
    price: Annotated[float, typer.Option(help="Of a retraining, in losses of one window.")] = laboratory.DEFAULT_PRICE,
    policy: Annotated[list[str] | None, typer.Option(help="A policy of your own, module:name.")] = None,
    matrix: Annotated[Path | None, typer.Option(help="Keep the losses in this file.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write JSON to this file; - prints it.")] = None,
    html: Annotated[Path, typer.Option(help="The page.")] = Path("lab.html"),
) -> None:
    """Show whether a model on this table goes stale, how fast, and what retraining is worth. Needs no platform."""
    laboratory.check_price(price)
    own = own_policies(policy or [])
    began = time.monotonic()
    prepared = laboratory.prepare(**vars(asked))
    built = laboratory.build_matrix(prepared, first=prepared.first if first is None else first)
    if matrix is not None:
        built.save(matrix)
    report = laboratory.compare_policies(built, price=price, own=own, title=f"{asked.table.name}: {asked.label}")
    write_report(report, json, html)
    if str(json) != "-":
        tell(report)
        console.print(f"{html}: the page, after {time.monotonic() - began:.0f} s")


def own_policies(names: list[str]) -> list[Policy]:
    """The policies of these import paths; a class is called without arguments.

    Raises:
        ConfigError: There is none of that name, or it is no policy.
    """
    found: list[Policy] = []
    for name in names:
        module, _, attribute = name.partition(":")
        if str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        try:
            value = getattr(import_module(module), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(f"policy must be module:name of what can be imported, got {name!r}: {error}") from error
        try:
            made = value() if isinstance(value, type) else value
        except TypeError as error:
            raise ConfigError(
                f"policy {name!r} cannot be made without arguments: {error}; name an instance of it"
            ) from error
        if not isinstance(made, laboratory.Policy):
            raise ConfigError(f"policy {name!r} must have a name and decide(history), got {type(made).__name__}")
        found.append(made)
    return found


def write_report(report: LabReport, json: Path | None, html: Path | None) -> None:
    """Write a report's page and its JSON; a path of ``-`` prints the JSON.

    Raises:
        StorageError: A file cannot be written.
    """
    text = json_text.dumps(report.to_dict(), indent=2)
    if str(json) == "-":
        typer.echo(text)
        json = None
    for path, content in ((json, text), (html, report.to_html() if html else "")):
        if path is not None:
            try:
                path.write_text(content, encoding="utf-8")
            except OSError as error:
                raise StorageError(f"{path} cannot be written: {error}", path=str(path)) from error


def tell(report: LabReport) -> None:
    """Print what a report says, in brief."""
    facts = report.to_dict()
    every, never = facts["every_window"], facts["never"]
    for note in facts["notes"]:
        console.print(f"note: {note}")
    console.print(
        f"{facts['windows']} windows, {facts['rows']:,} rows: {facts['metric']} {never:.4g} never retrained, "
        f"{every:.4g} retrained in every window"
    )
    rows = [
        {"policy": name, **values, "beyond oracle": f"{100 * values['excess']:+.1f}%"}
        for name, values in sorted(facts["policies"].items(), key=lambda item: item[1]["cost"])
    ]
    show(rows, ["policy", "cost", "beyond oracle", "retrainings", "loss", "gain_share"], as_json=False)
    console.print(f"recommended: {report.recommended}: {report.reason}")
