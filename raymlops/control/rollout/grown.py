"""Collections that grow by one element at a time, and share what they hold with those they grew from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import islice
from typing import TypeVar, overload

__all__ = ["GrownSet", "GrownTuple"]

T = TypeVar("T")


class GrownTuple(Sequence[T]):
    """A tuple whose every prefix costs nothing to keep.

    Reading is thread-safe. One thread at a time may grow tuples that share elements.

    Args:
        elements: In order.
    """

    __slots__ = ("_length", "_shared")

    def __init__(self, elements: Iterable[T] = ()) -> None:
        self._shared = list(elements)
        self._length = len(self._shared)

    def plus(self, element: T) -> GrownTuple[T]:
        """This tuple with one more element at its end; this one stays as it is."""
        grown = GrownTuple[T]()
        # a longer one was made of this one before: its elements are none of ours
        grown._shared = self._shared if len(self._shared) == self._length else self._shared[: self._length]
        grown._shared.append(element)
        grown._length = self._length + 1
        return grown

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, place: int) -> T: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[T]: ...

    def __getitem__(self, place: int | slice) -> T | Sequence[T]:
        if isinstance(place, slice):
            return tuple(self._shared[index] for index in range(*place.indices(self._length)))
        return self._shared[range(self._length)[place]]

    def __iter__(self) -> Iterator[T]:
        return islice(self._shared, self._length)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GrownTuple | tuple) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


class GrownSet(Set[T]):
    """A set whose every earlier state costs nothing to keep.

    Reading is thread-safe. One thread at a time may grow sets that share elements.

    Args:
        elements: In any order.
    """

    __slots__ = ("_length", "_places", "_shared")

    def __init__(self, elements: Iterable[T] = ()) -> None:
        self._shared = list(dict.fromkeys(elements))
        self._places: dict[object, int] = {element: place for place, element in enumerate(self._shared)}
        self._length = len(self._shared)

    def plus(self, element: T) -> GrownSet[T]:
        """This set with one more element; this one stays as it is."""
        if element in self:
            return self
        base = self if len(self._shared) == self._length else GrownSet(self)
        grown = GrownSet[T]()
        grown._shared, grown._places, grown._length = base._shared, base._places, base._length + 1
        grown._places[element] = base._length
        grown._shared.append(element)
        return grown

    def __contains__(self, element: object) -> bool:
        place = self._places.get(element)
        return place is not None and place < self._length

    def __iter__(self) -> Iterator[T]:
        return islice(self._shared, self._length)

    def __len__(self) -> int:
        return self._length

    def __repr__(self) -> str:
        return repr(set(self))
