"""``raymlops runs ...``."""

from __future__ import annotations

from typing import Annotated

import orjson
import typer

from raymlops.cli.output import ConfigOption, JsonOption, one_line_errors, platform, printable, show, show_json
from raymlops.errors import ConfigError
from raymlops.records.runs import RunStatus

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Pipeline runs.")
_COLUMNS = ["id", "pipeline", "status", "reason", "created_at", "ended_at"]


def parse_parameters(pairs: list[str]) -> dict[str, object]:
    """``NAME=VALUE`` pairs; a value is JSON where it can be read as such, else text.

    Raises:
        ConfigError: A pair has no ``=``.
    """
    parameters: dict[str, object] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or not name:
            raise ConfigError(f"a parameter must be NAME=VALUE, got {pair!r}")
        try:
            parameters[name] = orjson.loads(text)
        except orjson.JSONDecodeError:
            parameters[name] = text
    return parameters


@app.command()
@one_line_errors
def start(
    pipeline: str,
    parameter: Annotated[list[str] | None, typer.Option("--parameter", "-p", help="NAME=VALUE")] = None,
    reason: str = "on-demand",
    wait: bool = True,
    config: ConfigOption = None,
) -> None:
    """Run the deployed bundle of a pipeline."""
    with platform(config) as connected:
        run = connected.runs.start(pipeline, parameters=parse_parameters(parameter or []), reason=reason, wait=wait)
    show_json(run)
    if run.status.final and run.error is not None:
        raise typer.Exit(1)


@app.command("list")
@one_line_errors
def list_runs(
    pipeline: Annotated[str | None, typer.Argument()] = None,
    status: Annotated[RunStatus | None, typer.Option(help="Only runs in this state.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List runs, newest first."""
    with platform(config) as connected:
        show(connected.runs.list(pipeline, status, limit), _COLUMNS, as_json=json)


@app.command("show")
@one_line_errors
def show_run(run_id: str, json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show one run as JSON."""
    del json  # there is no other form
    with platform(config) as connected:
        show_json(connected.runs.get(run_id))


@app.command()
@one_line_errors
def logs(
    run_id: str,
    step: Annotated[str | None, typer.Option(help="Only what this step printed and logged.")] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show what a run and its steps printed and logged, also for a run that was killed."""
    with platform(config) as connected:
        text = connected.runs.logs(run_id, step)
    if json:
        show_json({"run": run_id, "step": step, "text": text})
    else:
        typer.echo(text)


@app.command()
@one_line_errors
def compare(run_ids: list[str], json: JsonOption = False, config: ConfigOption = None) -> None:
    """Compare the outcomes and metrics of runs."""
    with platform(config) as connected:
        table = connected.runs.compare(run_ids)
    show(table.to_pylist(), table.column_names, as_json=json)


@app.command()
@one_line_errors
def resume(run_id: str, wait: bool = True, json: JsonOption = False, config: ConfigOption = None) -> None:
    """Resume a failed run from its last good step; first print which steps run again, and why."""
    del json  # there is no other form; notes go to stderr
    with platform(config) as connected:
        for step in connected.runs.outlook(run_id):
            typer.echo(printable(f"will {step['action']} {step['step']}: {step['reason']}"), err=True)
        show_json(connected.runs.resume(run_id, wait=wait))
