"""``raymlops up | down | env | status``."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from raymlops import runtime
from raymlops.cli.output import ConfigOption, JsonOption, console, one_line_errors, platform, show, show_json
from raymlops.config.platform import PlatformConfig
from raymlops.config.reading.loader import load_config
from raymlops.errors import ModelVersionNotFound, UnavailableError
from raymlops.platform import Platform, connect
from raymlops.records.delivering.pushes import SourceStatus
from raymlops.records.models import ModelVersion
from raymlops.records.serving.endpoints import EndpointStatus
from raymlops.runtime.supervision.home_note import noted_cluster, supervisor_of

if TYPE_CHECKING:
    from raymlops.control import ModelStatus

__all__ = ["about_champion", "add_to", "source_lines", "status_rows", "troubles"]

_LOOK_S = 0.5
_TOLD = ("held_up", "paused", "disabled", "clock_set_back", "broken_data", "features_differ", "budget", "probes")
"""What stands against a retraining and does not pass by itself; `raymlops control why MODEL` tells all of it."""


class Versions(Protocol):
    """The registered versions."""

    def get(self, name: str, version: int) -> ModelVersion:
        """One of them; raises ``ModelVersionNotFound``."""
        ...


@one_line_errors
def up(
    address: Annotated[str | None, typer.Option(help="Run on this Ray cluster: host:port of its GCS.")] = None,
    port: Annotated[int | None, typer.Option(help="HTTP port.")] = None,
    config: ConfigOption = None,
) -> None:
    """Start the platform on this machine, or on a running Ray cluster, and leave it running.

    On a platform that runs, what died of it is brought back.
    """
    overrides = None if port is None else {"serving": {"port": port}}
    settings = load_config(config, overrides=overrides)
    console.print(f"home {settings.home}")
    started = connect(address, settings, tell=_tell)
    if config is not None or port is not None:
        _tell_differences(settings, started.config)
    silent = _await_endpoints(started)
    console.print(f"the platform answers at {started.url}")
    for status in silent:
        console.print(f"{status.model} does not answer: {status.reason or 'it is starting'}")
    for name in started.lacking:
        console.print(f"the cluster lacks the fast setting {name}: set it before `ray start`")
    for exposed in started.exposed:
        console.print(f"HAProxy of the cluster listens on port {exposed} of every interface, without keys: firewall it")
    started.detach()
    _print_environment(settings.home)


def _tell(stage: str) -> None:
    console.print(f"  {stage} ...", highlight=False)


def _await_endpoints(started: Platform) -> list[EndpointStatus]:
    """Wait until every model that a plan names answers; returns those that do not within ``serving.deploy_timeout``."""
    deadline = time.monotonic() + started.config.serving.deploy_timeout.total_seconds()
    told: tuple[int, int] | None = None
    while True:
        statuses = started.endpoints.status()
        silent = [status for status in statuses if not status.answers]
        if not silent or time.monotonic() > deadline:
            return silent
        if told != (counts := (len(statuses) - len(silent), len(statuses))):
            told = counts
            _tell(f"{told[0]} of {told[1]} models answer")
        time.sleep(_LOOK_S)


def _tell_differences(asked: PlatformConfig, runs: PlatformConfig) -> None:
    """Say where a platform that runs already keeps other settings than those asked for."""
    wanted, kept = asked.model_dump(mode="json"), runs.model_dump(mode="json")
    sections = sorted(name for name in wanted if wanted[name] != kept[name])
    if sections:
        console.print(
            f"not applied: {', '.join(sections)} differ from what the running platform was started with; "
            "`raymlops down`, then `up`, applies them"
        )


@one_line_errors
def down(config: ConfigOption = None) -> None:
    """Stop what `up` started, after endpoints have written the events of their answers."""
    home = load_config(config).home
    note = noted_cluster(home)
    if note is None and supervisor_of(home) is None:
        console.print("nothing was running")
        return

    if note is not None and note.foreign:
        stopped = runtime.take_down(home, console.print)
    else:  # which needs no Ray, whose import takes a second
        stopped = runtime.take_down_local(home, console.print)
    console.print(f"stopped {stopped} processes" if stopped else "nothing was running")


@one_line_errors
def env(config: ConfigOption = None) -> None:
    """Print the lines that let other commands reach the platform: `eval "$(raymlops env)"`."""
    home = load_config(config).home
    if not _print_environment(home):
        raise UnavailableError(f"no platform runs in {home}: start one with `raymlops up`")


def _print_environment(home: Path) -> bool:
    """Print the lines for a shell; ``False`` where no cluster is noted."""
    note = noted_cluster(home)
    if note is None:
        return False
    variables = {"RAYMLOPS_HOME": str(home), "RAY_ADDRESS": note.address}
    if note.dashboard_url is not None:
        variables["RAY_API_SERVER_ADDRESS"] = note.dashboard_url  # `ray job`
        variables["RAY_DASHBOARD_ADDRESS"] = note.dashboard_url  # `serve deploy`
    if not note.foreign:
        variables |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(home / "auth_token")}
        variables |= runtime.loopback_environment(note.address)
    for name, value in variables.items():
        typer.echo(f"export {name}={shlex.quote(value)}")
    return True


@one_line_errors
def status(json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show every endpoint, what it should serve, what answers, and the state of the loop."""
    with platform(config) as connected:
        endpoints = connected.endpoints.status()
        rows: Sequence[ModelStatus] = []
        try:
            rows = connected.control.status()
        except UnavailableError as error:  # the endpoints' statuses are known all the same
            console.print(f"the controller does not tell what it is about: {error}")
        ready, strays = all(endpoint.answers for endpoint in endpoints), connected.runs.strays()
        source = connected.delivery.source()
        if json:
            found = {"models": rows, "endpoints": endpoints, "stray_jobs": strays}
            more = {} if source is None else {"source": source}
            show_json({"url": connected.url, "ready": ready, **found, **more})
            return
        silent = sum(not endpoint.answers for endpoint in endpoints)
        state = "answers" if ready else f"is up, and {silent} of its {len(endpoints)} models do not answer,"
        console.print(f"the platform {state} at {connected.url}")
        columns = ["model", "phase", "champion", "answers", "pooled", "backup", "blocked", "run", "problem"]
        show(status_rows(rows, endpoints), columns, as_json=False)
        for endpoint in endpoints:
            told = about_champion(connected.models, endpoint)
            if told:
                console.print(f"{endpoint.model}: version {endpoint.champion}: {told}")
        for row in rows:
            for told in troubles(row):
                console.print(f"{row.model}: {told}")
        for stray in strays:
            console.print(stray.text, markup=False)
        for line in [] if source is None else source_lines(source):
            console.print(line)


def source_lines(source: SourceStatus) -> list[str]:
    """Lines about the watched repository: its fault, and its newest commits."""
    told = [] if source.problem is None else [f"source: {source.problem}"]
    for each in source.commits:
        told.append(f"source: {each.branch} at {each.commit[:12]}: {each.state}: {each.description}")
    return told


def about_champion(models: Versions, endpoint: EndpointStatus) -> str:
    """A sentence about the version that a plan names; empty where there is nothing to say."""
    try:
        return models.get(endpoint.model, endpoint.champion).unwatched
    except ModelVersionNotFound:
        return f"plan {endpoint.plan} names it, and no such version is registered; deploy one that is"


def troubles(row: ModelStatus) -> list[str]:
    """Sentences about a model, beside its row."""
    told = [f"{reason.text}; {reason.remedy}" for reason in row.reasons if reason.kind in _TOLD]
    told += [text for text in (row.below_floor, f"newest window: {row.labels}" if row.labels else "") if text]
    if row.dropped_events:
        told.append(f"{row.dropped_events} prediction events were lost")
    if row.out_of_bounds_events:
        told.append(f"{row.out_of_bounds_events} events have instants that make no sense, and are in no window")
    return told


def status_rows(models: Sequence[ModelStatus], endpoints: Sequence[EndpointStatus]) -> list[dict[str, object]]:
    """One row per model that is planned, whether the controller has turned to it or not."""
    controlled = {status.model: status for status in models}
    rows = []
    for endpoint in endpoints:
        known = controlled.get(endpoint.model)
        said = {} if known is None else known.model_dump(mode="json", include={"phase", "backup", "blocked", "problem"})
        answers = "yes" if endpoint.answers else "no"
        rows.append(
            {
                **said,
                "model": endpoint.model,
                "champion": endpoint.champion,
                "answers": answers if endpoint.reason is None else f"{answers}: {endpoint.reason}",
                "pooled": "yes" if endpoint.pooled else None,
                "run": None if known is None else known.run_id,
            }
        )
    return rows


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (up, down, env, status):
        app.command()(command)
