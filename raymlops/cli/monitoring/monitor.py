"""``raymlops monitor ...``."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from raymlops.cli.output import ConfigOption, JsonOption, console, one_line_errors, platform, show, show_json
from raymlops.errors import NotFoundError

__all__ = ["app"]


class Period(StrEnum):
    """What windows are added up to."""

    DAY = "day"
    WEEK = "week"


_LENGTHS = {Period.DAY: timedelta(days=1), Period.WEEK: timedelta(weeks=1)}

app = typer.Typer(no_args_is_help=True, help="Windows, drift and performance.")


@app.command()
@one_line_errors
def report(
    name: str,
    html: Annotated[Path | None, typer.Option(help="Write a self-contained page here.")] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show the report of a model: in the terminal, as JSON, or as a page."""
    with platform(config) as connected:
        found = connected.monitor.report(name)
    if html is not None:
        html.write_text(found.html(), encoding="utf-8")
        console.print(f"written to {html}")
    if json:
        show_json(found.to_dict())
    elif html is None:
        from raymlops.cli.monitoring.monitor_report import render_report

        console.print(render_report(found), highlight=False)


@app.command()
@one_line_errors
def alerts(
    model: Annotated[str | None, typer.Argument(help="A model; left out, all.")] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List the alerts, oldest first, and whether each webhook has received them."""
    with platform(config) as connected:
        found = connected.monitor.alerts(model)
        webhooks = connected.config.monitoring.alerts.webhooks
    if json:
        show_json(found)
        return
    if not webhooks:
        console.print("no webhook is configured: nobody looks for alerts (monitoring.alerts.webhooks)")
    from raymlops.cli.monitoring.monitor_report import render_alerts

    console.print(render_alerts(found), highlight=False)


@app.command()
@one_line_errors
def profile(
    name: str,
    by: Annotated[Period | None, typer.Option(help="Add the windows up to days or weeks.")] = None,
    segment: Annotated[str, typer.Option(help="A declared segment; with --by.")] = "",
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show the newest closed window by column: distance from the reference, threshold, missing values.

    With --by, all windows by day or week: their rows, late ones included, and what has moved.
    """
    if by is not None:
        _periods(name, by, segment, json, config)
        return
    with platform(config) as connected:
        windows = connected.monitor.report(name).windows
    if not windows:
        raise NotFoundError(f"no window of model {name!r} has been closed yet")
    columns = [{"column": column, **drift.model_dump()} for column, drift in windows[-1].columns.items()]
    if not json:
        console.print(f"window from {windows[-1].start:%Y-%m-%d %H:%M} to {windows[-1].end:%Y-%m-%d %H:%M} UTC")
    shown = ["column", "score", "threshold", "p_value", "drifted", "missing_share", "importance"]
    show(columns, shown, as_json=json)


def _periods(name: str, by: Period, segment: str, json: bool, config: Path | None) -> None:
    with platform(config) as connected:
        periods = connected.monitor.rollup(name, every=_LENGTHS[by])
    if not periods:
        raise NotFoundError(f"no window of model {name!r} has been closed yet")
    if json:
        show_json([period.to_dict() for period in periods])
        return
    from raymlops.cli.monitoring.monitor_report import render_periods

    console.print(render_periods(periods, segment), highlight=False)
