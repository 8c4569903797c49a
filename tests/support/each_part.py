from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from raymlops.records.scoring import Part

S = TypeVar("S")
R = TypeVar("R")


def in_process(function: Callable[[S, Part], R], shared: S, parts: Sequence[Part], /) -> Iterator[R]:
    """``EachPart`` of this process, one part after the other."""
    for part in parts:
        yield function(shared, part)
