"""``raymlops features ...``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raymlops import runtime
from raymlops.cli.feature_store import discovery
from raymlops.cli.options import options_of
from raymlops.cli.output import (
    ConfigOption,
    EnvironmentOption,
    JsonOption,
    console,
    one_line_errors,
    platform,
    show,
    show_json,
)
from raymlops.config.section import parse_duration
from raymlops.errors import ConfigError

if TYPE_CHECKING:
    from raymlops.features.intake.row_batches import OnInvalid

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="The feature store.")

_Zone = Annotated[str | None, typer.Option(help="Zone of times that have none, as in Europe/Berlin.")]
_File = Annotated[Path, typer.Argument(help="A .parquet or .csv file.")]


@dataclass(frozen=True)
class _Ingest:
    """What is ingested, and how."""

    view: Annotated[str, typer.Argument()]
    path: Annotated[Path, typer.Argument(help="A .parquet or .csv file, or a directory of such files.")]
    ingest_id: Annotated[str | None, typer.Option(help="Repeats with the same id write nothing.")] = None
    quarantine: Annotated[bool, typer.Option(help="Put rows that break a rule aside, and append the others.")] = False
    time_zone: _Zone = None
    ignore_extra: Annotated[bool, typer.Option(help="Leave out columns that the view does not have.")] = False


@app.command()
@one_line_errors
@options_of(_Ingest)
def ingest(
    given: _Ingest, json: JsonOption = False, environment: EnvironmentOption = None, config: ConfigOption = None
) -> None:
    """Append the rows of a file to a view's table; all at once, however large it is."""
    on_invalid: OnInvalid = "quarantine" if given.quarantine else "reject"
    with platform(config, environment) as connected:
        receipt = connected.features.ingest_file(
            given.view,
            given.path,
            ingest_id=given.ingest_id,
            on_invalid=on_invalid,
            time_zone=given.time_zone,
            extra_columns="ignore" if given.ignore_extra else "refuse",
        )
    show([receipt], ["table", "table_version", "rows", "rejected", "ingest_id", "duplicate"], as_json=json)


@app.command()
@one_line_errors
def copy(
    source: Annotated[str, typer.Option("--from", help="The environment that rows come from.")],
    environment: EnvironmentOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Copy rows of another environment into the tables of this one that have none."""
    with platform(config, environment) as connected:
        receipts = connected.features.copy_rows(source)
    show(receipts, ["table", "table_version", "rows"], as_json=json)


@app.command()
@one_line_errors
def quarantine(
    view: str,
    ingest_id: Annotated[str | None, typer.Option(help="Only rows of one ingest.")] = None,
    json: JsonOption = False,
    environment: EnvironmentOption = None,
    config: ConfigOption = None,
) -> None:
    """List the rows that ingests into a view refused, and why."""
    with platform(config, environment) as connected:
        rows = connected.features.quarantine(view, ingest_id)
    show(rows, ["quarantined_at", "ingest_id", "row", "reasons", "values"], as_json=json)


@app.command()
@one_line_errors
def vacuum(
    retention: Annotated[str, typer.Option(help="Versions of this time stay readable, as in 7d or 12h.")] = "7d",
    apply: Annotated[bool, typer.Option("--apply", help="Remove the files; without it they are only counted.")] = False,
    json: JsonOption = False,
    environment: EnvironmentOption = None,
    config: ConfigOption = None,
) -> None:
    """Remove files of tables that no training set pins and nobody reads any more."""
    try:
        kept = parse_duration(retention)
    except ValueError as error:
        raise ConfigError(f"--retention {error}, got {retention!r}") from error
    with platform(config, environment) as connected:
        report = connected.features.vacuum(retention=kept, dry_run=not apply)
    if json:
        show_json(report)
        return
    show(report.tables, ["table", "files", "size_bytes", "pinned_versions"], as_json=False)
    console.print(f"{report.files} files, {report.size_bytes} bytes {'removed' if apply else 'would be removed'}")


@app.command()
@one_line_errors
def materialize(
    view: Annotated[str | None, typer.Argument()] = None,
    json: JsonOption = False,
    environment: EnvironmentOption = None,
    config: ConfigOption = None,
) -> None:
    """Bring the online store up to the newest tables."""
    with platform(config, environment) as connected:
        receipts = connected.features.materialize(view)
    show(receipts, ["view", "table_version", "rows"], as_json=json)


@app.command()
@one_line_errors
def online(
    service: str,
    entities: _File,
    at: Annotated[str | None, typer.Option(help="Instant, with its zone.")] = None,
    time_zone: _Zone = None,
    environment: EnvironmentOption = None,
    config: ConfigOption = None,
) -> None:
    """Print the features of the entities in a file, as JSON."""
    instant = None if at is None else discovery.instant_of(at)
    with platform(config, environment) as connected:
        show_json(connected.features.online(service, entities, instant, time_zone=time_zone).to_pylist())


@app.command(name="training-set")
@one_line_errors
def training_set(
    service: str,
    spine: _File,
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    name: Annotated[str, typer.Option(help="Name of the training set.")] = "training-set",
    knowledge_cutoff: Annotated[bool, typer.Option(help="Leave out rows created after the label's time.")] = False,
    time_zone: _Zone = None,
    environment: EnvironmentOption = None,
    config: ConfigOption = None,
) -> None:
    """Join features to a spine, point in time, and print the manifest."""
    from pyarrow import parquet

    with platform(config, environment) as connected:
        built = connected.features.training_set(
            service, spine, name=name, knowledge_cutoff=knowledge_cutoff, time_zone=time_zone
        )
    parquet.write_table(built.table(), out)
    show_json(built.manifest)
    for view, rows in built.manifest.late_rows.items():
        if rows:
            typer.echo(f"{rows} rows use what {view} learned only after their time: --knowledge-cutoff", err=True)


@app.command()
@one_line_errors
def nodes(json: JsonOption = False, environment: EnvironmentOption = None, config: ConfigOption = None) -> None:
    """Show how fresh the online features of each node are, for each view."""
    with platform(config, environment) as connected:
        rows = runtime.copies(connected.config, connected.environment)
    show(rows, ["node", "role", "view", "row", "behind_rows", "level_at", "error"], as_json=json)
    if not rows and not json:
        console.print("nothing is materialised yet")


discovery.add_to(app)
