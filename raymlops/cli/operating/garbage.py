"""``raymlops gc``."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from raymlops.cli.output import ConfigOption, JsonOption, console, one_line_errors, platform, show, show_json
from raymlops.config.section import parse_duration
from raymlops.errors import ConfigError

__all__ = ["add_to"]


@one_line_errors
def gc(
    remove: Annotated[bool, typer.Option("--remove", help="Remove it; left out, it is only told.")] = False,
    keep: Annotated[str, typer.Option(help="For how long after its end a run can be resumed.")] = "30d",
    grace: Annotated[str, typer.Option(help="What was written or used within this time stays.")] = "1d",
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List files that no version, run or deployment needs any more; remove them if asked."""
    kept, spared = duration("--keep", keep), duration("--grace", grace)
    with platform(config) as connected:
        report = connected.collect_garbage(keep=kept, grace=spared, remove=remove)
    if json:
        show_json(report)
        return
    show(report.found, ["kind", "bytes", "path"], as_json=False)
    done = "removed" if report.removed else "would be removed with --remove"
    console.print(f"{len(report.found)} things of {report.bytes} bytes {done}; {report.kept} are kept")


def duration(option: str, text: str) -> timedelta:
    """A length of time, such as ``30d`` or ``1h30m``.

    Raises:
        ConfigError: It is something else.
    """
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"{option} {error}, got {text!r}") from error


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(gc)
