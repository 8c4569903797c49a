"""The live view: a table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from raymlops.replay.story import Story

__all__ = ["View"]

_ROWS = 12
_SHOWN_DECISIONS = 6
_PLAIN: dict[str, Any] = {"highlight": False, "soft_wrap": True}


class View:
    """Shows how far the demo is.

    Args:
        weeks: Weeks that will be replayed.
    """

    def __init__(self, weeks: int) -> None:
        self._weeks = weeks
        self._console = Console()
        self._live: Live | None = None
        self._printed = 0

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
        """Show one more week."""
        if self._live is not None:
            self._live.update(self._render(story))
            return
        # a week's window is closed, and its labels are in, a day into the next one
        if len(story.weeks) > 1:
            self._line(story, len(story.weeks) - 2)
        for entry in story.decisions()[self._printed :]:
            self._console.print(f"    {entry.at:%Y-%m-%d} {entry.action}: {entry.reason}", **_PLAIN)
        self._printed = len(story.decisions())
        if len(story.weeks) == self._weeks:
            self._line(story, self._weeks - 1)

    def _line(self, story: Story, index: int) -> None:
        week, first, flights, loss, champion, drifted, degraded = self._cells(story, index)
        text = f"week {week} from {first}: {flights} flights, log loss {loss}, {champion}, drifted {drifted}"
        self._console.print(f"{text}, degraded: {degraded}", **_PLAIN)

    def _render(self, story: Story) -> Group:
        table = Table("week", "from", "flights", "log loss", "champion", "drifted", "degraded", box=None)
        for index in range(max(0, len(story.weeks) - _ROWS), len(story.weeks)):
            table.add_row(*self._cells(story, index))
        lines = [
            Text(f"{entry.at:%Y-%m-%d}  {entry.action:<12} {entry.reason}", overflow="ellipsis", no_wrap=True)
            for entry in story.decisions()[-_SHOWN_DECISIONS:]
        ]
        head = Text(
            f"week {len(story.weeks)} of {self._weeks}, {story.tally.requests} requests, {story.tally.failed} failed"
        )
        return Group(head, table, Text("decisions", style="bold"), *lines)

    def _cells(self, story: Story, index: int) -> tuple[str, ...]:
        week = story.weeks[index]
        loss = story.loss(week)
        window = next((one for one in story.windows if one.start == week.start), None)
        drifted = sum(column.drifted for column in window.columns.values()) if window else 0
        champion = Counter(answer.version for answer in week.answers).most_common(1)
        return (
            f"{week.number:>2}",
            f"{week.start:%Y-%m-%d}",
            f"{len(week.answers)}",
            "-" if loss is None else f"{loss:.3f}",
            f"v{champion[0][0]}" if champion else "-",
            f"{drifted}/{len(window.columns)}" if window else "…",
            ("yes" if window.degraded else "no") if window else "…",
        )

    def summary(self, story: Story, page: Path) -> None:
        """The figures, and where the page is."""
        table = Table(show_header=False, box=None)
        for name, value in story.summary().items():
            table.add_row(name, str(value))
        self._console.print()
        self._console.print(table)
        for failure in story.tally.failures:
            self._console.print(f"[red]failed:[/red] {failure}", **_PLAIN)
        self._console.print(f"\nreport: {page}", **_PLAIN)
