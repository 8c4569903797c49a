"""The live view: a table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from raymlops.replay.outcome.story import Story
from raymlops.replay.plan import ReplayPlan
from raymlops.replay.source import Project

__all__ = ["View"]

_ROWS = 12
_SHOWN_DECISIONS = 6
_PLAIN: dict[str, Any] = {"highlight": False, "soft_wrap": True, "markup": False}


class View:
    """Shows how far a replay is."""

    def __init__(self) -> None:
        self._console = Console()
        self._live: Live | None = None
        self._printed = 0

    def tell(self, text: str) -> None:
        """Print one line."""
        self._console.print(text, **_PLAIN)

    def tell_trial(self, text: str) -> None:
        """Print a line about one trial of a search that is under way."""
        self.tell(f"    {text}")

    def tell_plan(self, plan: ReplayPlan, project: Project) -> None:
        """Say what is trained on and what is replayed, and what was done to the data."""
        first, last = plan.trained_until, plan.end
        each = f", at most {plan.sample.rows} in each" if plan.sample.rows else ""
        each = f", {plan.sample.share:.0%} of each" if plan.sample.share else each
        self.tell(f"{project.spec.name}: {plan.first} {plan.unit}s train, {plan.count} are replayed{each}")
        self.tell(f"the replay goes from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC")
        for note in project.tables.notes:
            self.tell(f"note: {note}")

    @contextmanager
    def stage(self, what: str) -> Iterator[None]:
        """Say what is being done, and how long it took."""
        started = time.monotonic()
        if self._console.is_terminal:
            self._console.print(f"[dim]…[/dim] {what}", end="\r")
        yield
        self._console.print(f"[green]✓[/green] {what} [dim]({time.monotonic() - started:.1f} s)[/dim]")

    @contextmanager
    def live(self, story: Story) -> Iterator[None]:
        """Keep the view on the screen while the replay runs."""
        if not self._console.is_terminal:
            yield
            return
        with Live(self._render(story), console=self._console, refresh_per_second=4) as self._live:
            yield
        self._live = None

    def update(self, story: Story) -> None:
        """Show one more window."""
        if self._live is not None:
            self._live.update(self._render(story))
            return
        played = len(story.windows_played)
        # a window is closed, and its labels are in, some time into the next one
        if played > 1:
            self._line(story, played - 2)
        for entry in story.decisions()[self._printed :]:
            self._console.print(f"    {_at(entry.at, story)} {entry.action}: {entry.reason}", **_PLAIN)
        self._printed = len(story.decisions())
        if played == story.plan.count:
            self._line(story, played - 1)

    def _line(self, story: Story, index: int) -> None:
        number, first, rows, loss, champion, drifted, degraded = self._cells(story, index)
        what = f"{rows} {story.spec.replay.things}, {story.loss_of.name} {loss}"
        text = f"{story.plan.unit} {number} from {first}: {what}, {champion}, drifted {drifted}"
        self._console.print(f"{text}, degraded: {degraded}", **_PLAIN)

    def _render(self, story: Story) -> Group:
        unit, things, played = story.plan.unit, story.spec.replay.things, len(story.windows_played)
        table = Table(unit, "from", things, story.loss_of.name, "champion", "drifted", "degraded", box=None)
        for index in range(max(0, played - _ROWS), played):
            table.add_row(*self._cells(story, index))
        lines = [
            Text(f"{_at(entry.at, story)}  {entry.action:<12} {entry.reason}", overflow="ellipsis", no_wrap=True)
            for entry in story.decisions()[-_SHOWN_DECISIONS:]
        ]
        head = Text(
            f"{unit} {played} of {story.plan.count}, {story.tally.requests} requests, {story.tally.failed} failed"
        )
        return Group(head, table, Text("decisions", style="bold"), *lines)

    def _cells(self, story: Story, index: int) -> tuple[str, ...]:
        played = story.windows_played[index]
        loss = story.loss(played)
        window = next((one for one in story.windows if one.start == played.start), None)
        drifted = sum(column.drifted for column in window.columns.values()) if window else 0
        champion = Counter(answer.version for answer in played.answers).most_common(1)
        return (
            f"{played.number:>2}",
            _at(played.start, story),
            f"{len(played.answers)}",
            "-" if loss is None else f"{loss:.3f}" if loss < 1000 else f"{loss:.4g}",
            f"v{champion[0][0]}" if champion else "-",
            f"{drifted}/{len(window.columns)}" if window else "…",
            ("yes" if window.degraded else "no") if window else "…",
        )

    def summary(self, story: Story) -> None:
        """The figures."""
        table = Table(show_header=False, box=None)
        for name, value in story.summary().items():
            table.add_row(name, str(value))
        self._console.print()
        self._console.print(table)
        for failure in story.tally.failures:
            self._console.print(Text.assemble(("failed:", "red"), f" {failure}"), **_PLAIN)


def _at(instant: datetime, story: Story) -> str:
    """An instant as short as the windows allow."""
    return f"{instant:%Y-%m-%d}" if story.plan.window >= timedelta(days=1) else f"{instant:%Y-%m-%d %H:%M}"
