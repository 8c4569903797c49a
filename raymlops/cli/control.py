"""``raymlops control ...``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from raymlops.cli.output import ConfigOption, JsonOption, console, one_line_errors, platform, show, show_json
from raymlops.cli.projects.lab import tell, write_report
from raymlops.config.reading.draft import DEFAULTS
from raymlops.errors import DataError
from raymlops.laboratory import DEFAULT_PRICE

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="The controller: triggers, decisions, trials.")
_Model = Annotated[str | None, typer.Argument(help="A model; left out, all.")]


@app.command()
@one_line_errors
def triggers(json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show what the retraining policy said about each model at its last turn."""
    with platform(config) as connected:
        show(connected.control.status(), ["model", "phase", "champion", "verdict", "labels", "problem"], as_json=json)


@app.command()
@one_line_errors
def why(
    model: str,
    at: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d"], help="Now, if left out.")
    ] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show what stands against a retraining, and how far a trial is from its decision; now or at another time."""
    with platform(config) as connected:
        found = connected.control.why(model, None if at is None else at.replace(tzinfo=at.tzinfo or UTC))
    if json:
        show_json(found)
        return
    console.print(f"{found.model}: version {found.champion} since {found.champion_since}: {found.phase}")
    console.print(f"policy: {found.verdict.reason}")
    performance = None if found.window is None else found.window.performance.get(found.champion)
    if performance is not None:
        console.print(f"newest window: {performance.labels_text}")
    if found.below_floor:
        console.print(found.below_floor)
    if found.verdict.regret is not None:
        console.print(f"probes, up to {found.verdict.regret.end}: {found.verdict.regret.reason}")
    if not found.reasons:
        console.print("nothing stands against a retraining")
    else:
        show(found.reasons, ["text", "remedy", "until"], as_json=False)
    for problem in found.unreadable:
        console.print(problem, markup=False)
    for standing in found.standings:
        on = f"version {standing.version} on {standing.kind} since {standing.since}, beside {standing.compared_with}"
        console.print(f"{on}: {standing.verdict}: {standing.reason}")
        for guard in standing.guards:
            console.print(f"  {'*' if guard.reached else '-'} {guard.text}")
        if standing.labelled_share is not None:
            lean = standing.label_lean
            leaning = "" if lean is None else f", their mean score {lean:+.3g} off that of all"
            share = f"{standing.labelled_share:.0%} of the rows that are old enough"
            console.print(f"  labels: {share}{leaning}")


@app.command()
@one_line_errors
def policy(
    model: str,
    everything: Annotated[bool, typer.Option("--all", help="Show defaults, too.")] = False,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """The policy in force for a model, and who gave each value of it."""
    with platform(config) as connected:
        found = connected.control.policy(model)
    if json:
        told = found.model_dump(mode="json", exclude={"config", "sources"})
        settings = [setting.model_dump(mode="json") for setting in found.settings]
        show_json({**told, "digest": found.digest, "policy": found.sections, "settings": settings})
        return
    by = "no deployed bundle trains it" if found.bundle is None else f"bundle {found.bundle[:12]} since {found.since}"
    console.print(f"{found.model} in {found.environment}: {by}")
    if found.problem:
        console.print(f"its own policy is not in force, the platform's is: {found.problem}")
    shown = [setting for setting in found.settings if everything or setting.source != DEFAULTS]
    show(shown, ["name", "value", "source"], as_json=False)
    if not everything:
        console.print(f"{len(found.settings) - len(shown)} other settings are as by default; --all shows them")


@app.command()
@one_line_errors
def decisions(model: _Model = None, json: JsonOption = False, config: ConfigOption = None) -> None:
    """List what was decided and why, oldest first."""
    with platform(config) as connected:
        show(connected.ledger.entries(model), ["sequence", "at", "subject", "action", "reason"], as_json=json)


@app.command()
@one_line_errors
def backtest(
    model: str,
    price: Annotated[float, typer.Option(help="Of a retraining, in losses of one window.")] = DEFAULT_PRICE,
    html: Annotated[Path | None, typer.Option(help="Write the laboratory's page to this file.")] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show when the present policy would have retrained, and what retraining was worth, on the model's own record.

    Without labelled rows enough for the laboratory, the decisions alone, and why.
    """
    report, problem = None, None
    with platform(config) as connected:
        decided = connected.control.backtest(model)
        try:
            report = connected.control.laboratory(model, price=price)
        except DataError as error:  # the record is too short, or holds what cannot be learned from
            problem = str(error)
    if report is not None:
        write_report(report, None, html)
    if json:
        show_json({**(report.to_dict() if report else {"problem": problem}), "decisions": list(decided)})
        return
    show(decided, ["at", "triggers", "reason"], as_json=False)
    if report is None:
        console.print(f"what they were worth is not known: {problem}")
    else:
        tell(report)


@app.command()
@one_line_errors
def promote(
    model: str,
    whole: Annotated[bool, typer.Option("--whole", help="Leave out what is left of the ramp.")] = False,
    reason: str = "on demand",
    config: ConfigOption = None,
) -> None:
    """Give the version on trial its next share of the traffic now, or make it champion."""
    with platform(config) as connected:
        show_json(connected.control.promote(model, whole=whole, reason=reason))


@app.command()
@one_line_errors
def abort(model: str, reason: str = "on demand", config: ConfigOption = None) -> None:
    """End the trial; the champion stays."""
    with platform(config) as connected:
        show_json(connected.control.abort(model, reason=reason))


@app.command()
@one_line_errors
def retry(model: str, reason: str = "on demand", config: ConfigOption = None) -> None:
    """Start the last trial again."""
    with platform(config) as connected:
        show_json(connected.control.retry(model, reason=reason))


@app.command()
@one_line_errors
def retrain(
    model: str,
    reason: str = "on demand",
    key: Annotated[str | None, typer.Option(help="Names the order: given again, it counts once.")] = None,
    config: ConfigOption = None,
) -> None:
    """Ask the controller for a retraining."""
    with platform(config) as connected:
        show_json(connected.control.retrain(model, reason=reason, key=key))


@app.command()
@one_line_errors
def pause(model: _Model = None, reason: str = "on demand", config: ConfigOption = None) -> None:
    """Pause the controller: it makes no decision until it is resumed."""
    with platform(config) as connected:
        connected.control.pause(model, reason=reason)
    console.print("paused")


@app.command()
@one_line_errors
def resume(model: _Model = None, reason: str = "on demand", config: ConfigOption = None) -> None:
    """Resume the controller."""
    with platform(config) as connected:
        connected.control.resume(model, reason=reason)
    console.print("resumed")
