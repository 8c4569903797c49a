from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from html.parser import HTMLParser
from typing import Any, NamedTuple

import numpy as np
import pytest

from raymlops.records.ledger import GENESIS, LedgerEntry
from raymlops.records.runs import Run
from raymlops.records.shown import Listed, html_of, one_line, shown

T = datetime(2026, 1, 5, tzinfo=UTC)
HOSTILE = "<script>alert('x')</script>\n\"'&\x1b[31m"


class Colour(Enum):
    RED = "red"


@shown()
@dataclass
class Holder:
    """Values of all kinds."""

    text: str = HOSTILE
    many: list[int] = field(default_factory=lambda: list(range(1000)))
    array: Any = field(default_factory=lambda: np.zeros((3, 2)))
    colour: Colour = Colour.RED
    share: float = 1 / 3
    nothing: None = None
    _own: int = 7


@shown()
class Pair(NamedTuple):
    """A tuple with names."""

    left: int
    right: str


@shown("size")
class Made:
    """Shows what it is told to."""

    def __init__(self) -> None:
        self.secret = "x"

    @property
    def size(self) -> int:
        return 3


def entry(reason: str = HOSTILE) -> LedgerEntry:
    return LedgerEntry(
        sequence=1, at=T, subject="churn", action="deploy", reason=reason, evidence={HOSTILE: [HOSTILE]}, key="k",
        previous_hash=GENESIS, hash=GENESIS,
    )  # fmt: skip


class Tags(HTMLParser):
    """Finds every tag, and what is open at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize(
    "thing", [Holder(), Pair(1, HOSTILE), Made(), entry(), Run(id="r", pipeline="p", created_at=T)]
)
def test_a_thing_is_one_line_and_a_harmless_table(thing: Any) -> None:
    line = repr(thing)
    assert line.isprintable()
    assert line.startswith(f"{type(thing).__name__}(")
    assert len(line) < 400
    tags = Tags()
    tags.feed(thing._repr_html_())
    assert tags.open == []
    assert tags.seen <= {"table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td"}
    assert tags.attributes <= {"scope", "colspan"}


def test_what_is_long_is_shortened_and_what_is_private_left_out() -> None:
    line = one_line(Holder())
    assert "<1000 of list>" in line
    assert "<ndarray (3, 2)>" in line
    assert "colour=red" in line
    assert "share=0.333333" in line
    assert "_own" not in line
    assert one_line(Made()) == "Made(size=3)"
    assert "secret" not in html_of(Made())


def test_a_list_of_records_is_a_table_that_names_what_it_leaves_out() -> None:
    rows = Listed(entry(f"reason {number}") for number in range(30))
    page = rows._repr_html_()
    assert page.count("<tr>") == 1 + 20 + 1
    assert "and 10 more" in page
    assert "reason 19" in page
    assert "reason 20" not in page
    frame = rows.to_pandas()
    assert list(frame["reason"]) == [f"reason {number}" for number in range(30)]
    assert Listed[LedgerEntry]()._repr_html_().startswith("<table>")
    assert rows == list(rows)
