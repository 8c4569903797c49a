"""``raymlops batch ...``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer

from raymlops.cli.feature_store.discovery import instant_of
from raymlops.cli.options import options_of
from raymlops.cli.output import ConfigOption, JsonOption, console, one_line_errors, platform, show, show_json
from raymlops.errors import ConfigError
from raymlops.records.scoring import ScoringCheck, ScoringReceipt

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Batch scoring of tables.")


@dataclass(frozen=True)
class _Asked:
    """What is to be scored, and how."""

    model: Annotated[str, typer.Argument(help="NAME@VERSION; NAME alone is the champion.")]
    source: Annotated[
        str,
        typer.Argument(
            help="A Parquet or CSV file, a directory of such, a Delta table, or view:NAME; with @v12, version 12."
        ),
    ]
    output: Annotated[str, typer.Argument(help="Directory or URI of the Delta table to write.")]
    features: Annotated[str | None, typer.Option(help="Feature service; left out, the version's own.")] = None
    at: Annotated[str | None, typer.Option(help="Instant of all rows, with its zone; left out, their event_time.")] = (
        None
    )
    column: Annotated[list[str] | None, typer.Option(help="To carry over; may be given again; left out, all.")] = None
    mode: Annotated[
        Literal["create", "append", "overwrite"], typer.Option(help="What becomes of an output that is there.")
    ] = "create"

    def arguments(self) -> dict[str, Any]:
        """The same for ``platform.batch``."""
        name, version = _named(self.model)
        return {
            "model": name,
            "source": self.source,
            "output": self.output,
            "version": version,
            "features": self.features,
            "at": None if self.at is None else instant_of(self.at),
            "columns": self.column or None,
            "mode": self.mode,
        }


@app.command()
@one_line_errors
@options_of(_Asked)
def score(asked: _Asked, json: JsonOption = False, config: ConfigOption = None) -> None:
    """Score every row of a table. If a job is interrupted, the same command continues it."""
    arguments = asked.arguments()
    with platform(config) as connected:
        found = connected.batch.score(**arguments)
    _tell(found, ["rows", "parts", "resumed_parts", "output_version", "verdict", "duplicate"], json)


@app.command()
@one_line_errors
@options_of(_Asked)
def check(asked: _Asked, json: JsonOption = False, config: ConfigOption = None) -> None:
    """Check a sample of the rows without writing. Exit code 1 if they would be refused."""
    arguments = asked.arguments()
    with platform(config) as connected:
        found = connected.batch.check(**arguments)
    _tell(found, ["rows", "parts", "verdict"], json)
    if found.verdict == "block":
        raise typer.Exit(1)


def _named(model: str) -> tuple[str, int | None]:
    name, separator, version = model.rpartition("@")
    if not separator:
        return model, None
    if not version.isdecimal():
        raise ConfigError(f"a model must be NAME or NAME@VERSION, got {model!r}")
    return name, int(version)


def _tell(found: ScoringReceipt | ScoringCheck, columns: list[str], as_json: bool) -> None:
    if as_json:
        show_json(found)
        return
    model = f"{found.plan.model} v{found.plan.version}"
    show([{"model": model, **found.model_dump(include=set(columns))}], ["model", *columns], as_json=False)
    for reason in found.reasons:
        console.print(reason, highlight=False, soft_wrap=True)


@app.command("list")
@one_line_errors
def list_jobs(
    model: Annotated[str | None, typer.Argument(help="A model; left out, all.")] = None,
    version: Annotated[int | None, typer.Option(help="Of the model.")] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List batch jobs, newest first."""
    with platform(config) as connected:
        runs = connected.batch.list(model, version)
    if json:
        show_json(runs)
        return
    columns = ["id", "status", "created_at", "version", "source", "output", "rows", "output_version"]
    rows = [
        {
            **run.model_dump(mode="json", include={"id", "status", "created_at"}),
            "version": f"{run.parameters['model']} v{run.parameters['version']}",
            "source": run.parameters["source"]["name"],
            "output": run.parameters["output"],
            **{name: run.result.get(name) for name in ("rows", "output_version")},
        }
        for run in runs
    ]
    show(rows, columns, as_json=False)
