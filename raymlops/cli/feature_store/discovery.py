"""``raymlops features describe | search | statistics | audit``: what there is, and whether it is served right."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.text import Text

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
from raymlops.errors import ConfigError
from raymlops.records.features import ConsistencyReport
from raymlops.records.people.discovery import FeatureDescription, FeatureFreshness, LineageEdge, ViewStatistics

__all__ = ["add_to", "instant_of"]

_FIELDS = ["name", "dtype", "missing_share", "distinct", "minimum", "mean", "0.5", "maximum", "frequent"]


def instant_of(text: str) -> datetime:
    """An ISO 8601 instant with its zone.

    Raises:
        ConfigError: it is none, or has no zone.
    """
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"instant must be ISO 8601, such as 2026-03-01T12:00:00Z, got {text!r}") from error
    if instant.tzinfo is None:
        raise ConfigError(f"instant must have a zone, such as 2026-03-01T12:00:00Z, got {text!r}")
    return instant


def add_to(app: typer.Typer) -> None:
    """Add the commands to a group."""
    for command in (describe, search, statistics, audit):
        app.command()(command)


@one_line_errors
def describe(
    name: Annotated[str | None, typer.Argument(help="NAME or NAME@VERSION; left out, all are listed.")] = None,
    json: JsonOption = False,
    environment: EnvironmentOption = None,
    config: ConfigOption = None,
) -> None:
    """List the applied definitions, or show one with its statistics, freshness and lineage."""
    with platform(config, environment) as connected:
        if name is None:
            rows = connected.features.describe()
        else:
            found = connected.features.describe(name)
    if name is not None:
        if json:
            show_json(found)
        else:
            _show_description(found)
        return
    columns = ["kind", "name", "version", "entity", "fields", "ttl_s", "rows", "newest_event_time", "owner", "tags"]
    show(rows, [*columns, "description"], as_json=json)
    if not rows and not json:
        console.print("nothing is applied yet")


@one_line_errors
def search(
    text: Annotated[str, typer.Argument(help="Words; each must be somewhere in a definition.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="KEY or KEY=VALUE; may be given more than once.")] = None,
    owner: Annotated[str | None, typer.Option(help="The owner, as a whole.")] = None,
    json: JsonOption = False,
    environment: EnvironmentOption = None,
    config: ConfigOption = None,
) -> None:
    """Find definitions by words in names, fields, owners, descriptions and tags; by tag; by owner."""
    tags = {key: value for key, _, value in (each.partition("=") for each in tag or [])}
    with platform(config, environment) as connected:
        found = connected.features.search(text, tags=tags, owner=owner)
    show(list(found), ["kind", "name", "owner", "matched", "description"], as_json=json)
    if not found and not json:
        console.print("nothing was found")


@one_line_errors
def statistics(
    view: str,
    version: Annotated[int | None, typer.Option(help="Version of the table; left out, the newest.")] = None,
    json: JsonOption = False,
    environment: EnvironmentOption = None,
    config: ConfigOption = None,
) -> None:
    """Show the statistics of a view's fields, computed once per version of its table."""
    with platform(config, environment) as connected:
        found = connected.features.statistics(view, version)
    if json:
        show_json(found)
    else:
        _show_statistics(found)


@one_line_errors
def audit(
    service: str,
    since: Annotated[str | None, typer.Option(help="Only rows answered at or after this instant.")] = None,
    until: Annotated[str | None, typer.Option(help="Only rows answered before this instant.")] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="At most so many rows per model.")] = None,
    json: JsonOption = False,
    environment: EnvironmentOption = None,
    config: ConfigOption = None,
) -> None:
    """Recompute served features as of their serving time, and compare. Exit code 1 if they differ."""
    bounds = {name: instant_of(text) for name, text in (("since", since), ("until", until)) if text is not None}
    with platform(config, environment) as connected:
        report = connected.features.audit(service, **bounds, sample=sample)
    if json:
        show_json({**report.model_dump(mode="json"), "consistent": report.consistent})
    else:
        _show_audit(report)
    if not report.consistent:
        raise typer.Exit(1)


def _show_audit(report: ConsistencyReport) -> None:
    rows = [{"feature": name, **found.model_dump()} for name, found in report.features.items()]
    columns = ["feature", "mismatch", "missing", "extra", "late", "largest_difference", "mean_difference"]
    show(rows, columns, as_json=False)
    console.print(f"{report.rows} rows of {report.service}: {'consistent' if report.consistent else 'inconsistent'}")
    if report.examples:
        shown = ["feature", "keys", "event_time", "served_at", "request_id", "served", "recomputed"]
        show(list(report.examples), shown, as_json=False)


def _show_description(found: FeatureDescription) -> None:
    _title(f"{found.kind} {found.name}")
    for name, value in found.definition.items():
        if name in {"fields", "aggregates"} and isinstance(value, list):
            rows = [{key: part for key, part in each.items() if part not in (None, "")} for each in value]
            for row in rows:
                console.print(f"  {name[:-1]} {' '.join(f'{key}={part}' for key, part in row.items())}")
        elif value not in (None, "", [], {}):
            console.print(f"  {name}: {value}")
    if found.freshness is not None:
        _show_freshness(found.freshness)
    if found.statistics is not None:
        _show_statistics(found.statistics)
    _show_edges("made of", found.lineage.upstream)
    _show_edges("used by", found.lineage.downstream)


def _show_freshness(fresh: FeatureFreshness) -> None:
    _title(f"freshness: {fresh.verdict or 'no verdict'}")
    for name, value in fresh.model_dump(mode="json").items():
        if name not in {"view", "verdict"} and value not in (None, ""):
            console.print(f"  {name}: {value}")


def _show_statistics(found: ViewStatistics) -> None:
    _title(f"statistics of {found.view} at version {found.table_version} of table {found.table}")
    figures = found.model_dump(mode="json", exclude={"view", "table", "table_version", "fields", "newest_by_key"})
    for name, value in figures.items():
        if value is not None:
            console.print(f"  {name}: {value}")
    rows: list[dict[str, Any]] = [
        {**field.model_dump(), **field.quantiles, "frequent": _frequent(field.frequent)}
        for field in found.fields.values()
    ]
    show(rows, _FIELDS, as_json=False)


def _frequent(values: Any) -> str | None:
    return ", ".join(f"{each.value} ({each.rows})" for each in values[:3]) or None


def _show_edges(title: str, edges: tuple[LineageEdge, ...]) -> None:
    _title(title if edges else f"{title}: nothing")
    for edge in edges:
        source, target = edge.source, edge.target
        console.print(f"  {source.kind} {source.name} -> {target.kind} {target.name}")


def _title(text: str) -> None:
    console.print(Text(text, style="bold"))
