"""``raymlops features ...``."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer
from pyarrow import csv, parquet

from raymlops.cli.output import ConfigOption, JsonOption, console, one_line_errors, platform, show, show_json
from raymlops.errors import ConfigError

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="The feature store.")

_File = Annotated[Path, typer.Argument(help="A .parquet or .csv file.")]


def _read(path: Path) -> pa.Table:
    try:
        return parquet.read_table(path) if path.suffix == ".parquet" else csv.read_csv(path)
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{path} is not a readable table: {error}") from error


@app.command()
@one_line_errors
def ingest(
    view: str,
    path: _File,
    ingest_id: Annotated[str | None, typer.Option(help="Repeats with the same id write nothing.")] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Append the rows of a file to a view's table."""
    with platform(config) as connected:
        receipt = connected.features.ingest(view, _read(path), ingest_id=ingest_id)
    show([receipt], ["table", "table_version", "rows", "rejected", "duplicate"], as_json=json)


@app.command()
@one_line_errors
def materialize(
    view: Annotated[str | None, typer.Argument()] = None, json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Bring the online store up to the newest tables."""
    with platform(config) as connected:
        receipts = connected.features.materialize(view)
    show(receipts, ["view", "table_version", "rows"], as_json=json)


@app.command()
@one_line_errors
def online(
    service: str,
    entities: _File,
    at: Annotated[datetime | None, typer.Option(help="Instant, with its zone.")] = None,
    config: ConfigOption = None,
) -> None:
    """Print the features of the entities in a file, as JSON."""
    with platform(config) as connected:
        show_json(connected.features.online(service, _read(entities), at).to_pylist())


@app.command(name="training-set")
@one_line_errors
def training_set(
    service: str,
    spine: _File,
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    name: Annotated[str, typer.Option(help="Name of the training set.")] = "training-set",
    knowledge_cutoff: Annotated[bool, typer.Option(help="Leave out rows created after the label's time.")] = False,
    config: ConfigOption = None,
) -> None:
    """Join features to a spine, point in time, and print the manifest."""
    with platform(config) as connected:
        built = connected.features.training_set(service, _read(spine), name=name, knowledge_cutoff=knowledge_cutoff)
    parquet.write_table(built.table(), out)
    show_json(built.manifest)


@app.command()
@one_line_errors
def audit(service: str, json: JsonOption = False, config: ConfigOption = None) -> None:
    """Recompute what was served, at its serving time, and compare."""
    with platform(config) as connected:
        report = connected.features.audit(service)
    rows = [{"feature": name, **found.model_dump()} for name, found in report.features.items()]
    show(rows, ["feature", "mismatch", "missing", "extra"], as_json=json)
    if not report.consistent:
        raise typer.Exit(1)


@app.command()
@one_line_errors
def describe(json: JsonOption = False, config: ConfigOption = None) -> None:
    """List views and services with their owners."""
    with platform(config) as connected:
        rows = connected.features.describe()
    show(rows, ["kind", "name", "version", "entity", "fields", "owner", "description"], as_json=json)
    if not rows and not json:
        console.print("nothing is applied yet")
