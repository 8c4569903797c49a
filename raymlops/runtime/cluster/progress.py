"""A bar that shows how far long work is, on a terminal or in a notebook, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

__all__ = ["Tell", "progress"]

Tell = Callable[[int, str], None]
"""Called with how much is done, and with what is being done."""


@contextmanager
def progress(title: str, total: int | None = None, console: Console | None = None) -> Iterator[Tell]:
    """Show a bar while a block runs; it is gone afterwards.

    Args:
        title: Title of the work.
        total: Amount of work; ``None`` where it is not known.
        console: Shows the bar; by default on the standard error of the process.

    Yields:
        Told how far the work is.
    """
    console = console or Console(stderr=True)
    if not (console.is_terminal or console.is_jupyter):
        yield _nothing
        return
    # texts are shown as they are: a name may hold characters that rich takes for markup
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    counted = (*columns, MofNCompleteColumn()) if total is not None else columns
    with Progress(*counted, console=console, transient=True) as bar:
        task = bar.add_task(title, total=total)

        def tell(done: int, doing: str) -> None:
            bar.update(task, completed=done, description=f"{title}: {doing}" if doing else title)

        yield tell


def _nothing(done: int, doing: str) -> None:
    del done, doing
