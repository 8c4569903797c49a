"""The figures of a campaign, as JSON and as a table of docs/reliability.md."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.chaos.judge import Measured, Verdict
from benchmarks.chaos.victims import target_of

__all__ = ["BEGIN", "END", "figures", "into_page", "markdown"]

BEGIN, END = "<!-- chaos: begin -->", "<!-- chaos: end -->"
_TOGETHER = "two at once"
_SHOWN = 20


def figures(measured: Sequence[Measured], verdict: Verdict, about: dict[str, Any]) -> dict[str, Any]:
    """Everything as JSON values."""
    rows: dict[tuple[str, str], list[Measured]] = {}
    for each in measured:
        rows.setdefault((each.trouble.action, _row(each, measured)), []).append(each)
    return {
        **about,
        "passed": verdict.passed,
        **{name: {"count": len(found), "first": found[:_SHOWN]} for name, found in vars(verdict).items()},
        "victims": [_figures_of(action, kind, found) for (action, kind), found in sorted(rows.items())],
    }


def _row(each: Measured, measured: Sequence[Measured]) -> str:
    """The victim's kind; troubles of which one came amid the recovery from the other share a row."""
    following = [other.trouble for other in measured if other.trouble.at > each.trouble.at]
    disturbed = bool(following) and min(following, key=lambda other: other.at).amid is not None
    return _TOGETHER if each.trouble.amid is not None or disturbed else each.trouble.kind


def _figures_of(action: str, kind: str, found: Sequence[Measured]) -> dict[str, Any]:
    outages = [each.outage_s for each in found]
    repairs = [each.repair_s for each in found if each.repair_s is not None]
    target_s = target_of(kind) if action == "kill" else None
    return {
        "action": action,
        "victim": kind,
        "count": len(found),
        "outage_median_s": round(statistics.median(outages), 2),
        "outage_max_s": max(outages),
        "target_s": target_s,
        "within_target": None if target_s is None else max(outages) <= target_s,
        "failed_requests": sum(each.failed for each in found),
        "statuses": _added(each.statuses for each in found),
        "repair_median_s": round(statistics.median(repairs), 1) if repairs else None,
        "repair_max_s": max(repairs, default=None),
        "not_repaired": sum(each.trouble.repaired is False for each in found),
        "wanting": sorted({each.trouble.wanting for each in found if each.trouble.wanting}),
        "interventions": sum(len(each.trouble.interventions) for each in found),
        "hung": sum(len(each.trouble.hung) for each in found),
    }


def _added(parts: Any) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for status, count in part.items():
            total[str(status)] = total.get(str(status), 0) + count
    return total


def markdown(document: dict[str, Any]) -> str:
    """The table, and the line that says how it came about."""
    lines = [
        f"Taken on {document['date']}, seed {document['seed']}, {document['requests']} requests, "
        f"{document['acknowledged']} acknowledged writes, {document['models']} models, {document['minutes']} minutes.",
        "",
        "| what must not be | count |",
        "|---|---|",
        *(f"| {text} | {document[name]['count']} |" for name, text in _MUST_NOT.items()),
        "",
        "| trouble | times | outage, median | outage, longest | target | failed requests | all as before, median | "
        "not repaired | by hand |",
        "|---|---|---|---|---|---|---|---|---|",
        *map(_line, document["victims"]),
    ]
    return "\n".join(lines) + "\n"


_MUST_NOT = {
    "wrong": "wrong answers",
    "lost": "acknowledged writes lost",
    "twice": "writes that are there twice",
    "unexplained": "plans that the ledger does not explain",
    "hung": "calls that hung",
    "interventions": "interventions by hand",
}


def _line(row: dict[str, Any]) -> str:
    done = {"kill": "", "stop": "SIGSTOP of "}.get(row["action"], f"{row['action']}: ")
    cells = [
        f"{done}{row['victim']}",
        row["count"],
        f"{row['outage_median_s']:g} s",
        f"{row['outage_max_s']:g} s",
        "" if row["target_s"] is None else f"{row['target_s']:g} s",
        row["failed_requests"],
        "" if row["repair_median_s"] is None else f"{row['repair_median_s']:g} s",
        row["not_repaired"],
        row["interventions"],
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def into_page(page: str, table: str) -> str:
    """The page with the table between its marks.

    Raises:
        ValueError: The page has no such marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page must hold {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table}{END}{after}"
