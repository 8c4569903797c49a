"""``raymlops init``: a project from a table."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raymlops import projects
from raymlops.cli.options import options_of
from raymlops.cli.output import console, one_line_errors, printable
from raymlops.errors import ConfigError, DataError

if TYPE_CHECKING:
    from raymlops.projects.making import Made

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("init")(init)


@dataclass(frozen=True)
class _Given:
    """Options about a table; missing ones are inferred, or asked on a terminal."""

    table: Annotated[str, typer.Argument(help="A Parquet or CSV file, or a Delta table.")]
    directory: Annotated[Path | None, typer.Argument(help="Of the project; left out, one named after the table.")] = (
        None
    )
    label: Annotated[str | None, typer.Option(help="The column to predict.")] = None
    event_time: Annotated[str | None, typer.Option("--time", help="The column with the time of each row.")] = None
    entity: Annotated[
        list[str] | None, typer.Option(help="A column that names what rows are about; may be given often.")
    ] = None
    label_time: Annotated[str | None, typer.Option(help="The column of when the labels became known.")] = None
    label_delay: Annotated[str | None, typer.Option(help="How long after its row a label becomes known, as in 1d.")] = (
        None
    )
    time_zone: Annotated[str, typer.Option(help="Of times that are written without one.")] = "UTC"
    name: Annotated[str | None, typer.Option(help="Of the project and its model; left out, the directory's.")] = None
    keep: Annotated[list[str] | None, typer.Option(help="A suspected column that is to be an input all the same.")] = (
        None
    )
    leave_out: Annotated[list[str] | None, typer.Option(help="A column that is to be no input.")] = None
    most_inputs: Annotated[int, typer.Option(min=1, help="So many columns at most are inputs.")] = 200
    template: Annotated[str, typer.Option(help="Git repository that 'copier update' reads newer templates from.")] = (
        "raymlops"
    )
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: what is not said is inferred.")] = False


@one_line_errors
@options_of(_Given)
def init(given: _Given) -> None:
    """Make a project from a table: definitions, training, tests, CI. Needs no platform."""
    directory = given.directory or Path(Path(given.table).stem or "project")
    projects.check_empty(directory)
    ask = not given.yes and _on_terminal()
    times = [name for name in (given.event_time, given.label_time) if name is not None]
    raw = projects.read_raw(given.table, texts=times, time_zone=given.time_zone)
    label = _label(given, raw, ask)
    projects.check_columns(raw, [("label", label)])
    event_time = given.event_time or _time(
        [name for name in projects.time_columns(raw) if name not in {label, *times}], ask
    )
    if event_time not in times:  # texts of CSV files that were taken for the time are read anew, as they are written
        raw = projects.read_raw(given.table, texts=[*times, event_time], time_zone=given.time_zone)
    entities = tuple(given.entity or ())
    if not given.entity:
        entities = _entities(projects.likely_entities(raw, [label, event_time, *times]), ask)
    delay = given.label_delay
    if delay is None:
        known = given.label_time is not None or not ask
        delay = "0s" if known else typer.prompt("How long after its row is a label known (such as 0s, 1d)?", "0s")
    asked = projects.Asked(
        label,
        event_time,
        entities,
        label_time=given.label_time,
        label_delay=delay,
        time_zone=given.time_zone,
        keep=tuple(given.keep or ()),
        leave_out=tuple(given.leave_out or ()),
        most_inputs=given.most_inputs,
    )
    _tell(projects.make_project(given.table, directory, asked, name=given.name, source=given.template, raw=raw))


def _on_terminal() -> bool:
    return sys.stdin.isatty()


def _label(given: _Given, raw: Any, ask: bool) -> str:
    if given.label is not None:
        return given.label
    if not ask:
        raise ConfigError("--label must name the column to predict")
    return str(typer.prompt(f"Which column is to be predicted ({_listed(raw.column_names)})?"))


def _time(candidates: Sequence[str], ask: bool) -> str:
    """The column of times: the only one, or the one that the user names.

    Raises:
        DataError: There is none.
        ConfigError: There are several, and no terminal to ask on.
    """
    if not candidates:
        raise DataError("the table must have a column of times, got none: --time names one")
    if len(candidates) == 1:
        return candidates[0]
    if not ask:
        raise ConfigError(f"--time must name the column with the time of each row, which may be {_listed(candidates)}")
    return str(typer.prompt(f"Which column holds the time of each row ({_listed(candidates)})?", candidates[0]))


def _entities(candidates: Sequence[str], ask: bool) -> tuple[str, ...]:
    if not ask:
        return tuple(candidates)
    proposed = ",".join(candidates) or "none"
    said = str(typer.prompt("Which columns name what rows are about, parted by commas?", proposed))
    return () if said == "none" else tuple(name.strip() for name in said.split(",") if name.strip())


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(printable, names[:12]))
    return shown + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _tell(made: Made) -> None:
    """Print what was inferred, in brief."""
    answers = made.inferred.answers
    classes = f" of {len(answers['classes'])} classes" if answers["classes"] else ""
    entities = _listed([entity["column"] for entity in answers["entities"]]) or "none"
    console.print(
        f"{made.directory}: {answers['task']}{classes} from {answers['rows']:,} rows; inputs: {len(answers['inputs'])} "
        f"columns, left out: {len(answers['left_out'])}; entities: {entities}",
        soft_wrap=True,
    )
    for note in made.inferred.notes[:20]:
        console.print(f"note: {note}", soft_wrap=True)
    if len(made.inferred.notes) > 20:
        console.print(f"and {len(made.inferred.notes) - 20} more notes in README.md")
    replay = shlex.join(["raymlops", "replay", str(made.directory)])
    console.print(f"next: {replay}; {made.directory}/README.md says what was inferred", soft_wrap=True)
