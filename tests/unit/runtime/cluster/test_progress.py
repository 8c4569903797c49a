from __future__ import annotations

from io import StringIO

from rich.console import Console

from raymlops.runtime.cluster.progress import progress


def shown(*, terminal: bool, total: int | None = 3) -> str:
    out = StringIO()
    console = Console(file=out, force_terminal=terminal, width=100)
    with progress("scoring [bold]churn", total, console) as tell:
        tell(1, "part [red]one")
        tell(2, "part two")
        if terminal:
            console.print("")  # draws what stands
    return out.getvalue()


def test_a_terminal_sees_how_far_the_work_is() -> None:
    text = shown(terminal=True)
    assert "scoring [bold]churn: part two" in text
    assert "2/3" in text


def test_work_whose_length_nobody_knows_is_named() -> None:
    assert "scoring [bold]churn: part two" in shown(terminal=True, total=None)


def test_nobody_else_sees_anything() -> None:
    assert shown(terminal=False) == ""
