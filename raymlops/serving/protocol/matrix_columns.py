"""Columns of one matrix, which is kept whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy.typing as npt

__all__ = ["MatrixColumns"]

Array = npt.NDArray[Any]


class MatrixColumns(Mapping[str, Array]):
    """Columns of one matrix, by name. Immutable.

    A model whose inputs are the first of them takes the matrix as it is: twenty columns of one row are twenty objects
    otherwise.

    Args:
        matrix: [N, columns] of floats.
        names: Of the columns.
        position: Name -> place in ``names``.
    """

    __slots__ = ("_position", "matrix", "names")

    def __init__(self, matrix: Array, names: Sequence[str], position: Mapping[str, int]) -> None:
        self.matrix = matrix
        self.names = names
        self._position = position

    def __getitem__(self, name: str) -> Array:
        column: Array = self.matrix[:, self._position[name]]
        return column

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)
