"""The names of the Open Inference Protocol's datatypes: what a model's inputs are of."""

from __future__ import annotations

__all__ = ["TEXT", "is_float", "is_integer"]

TEXT = "BYTES"
"""The one Open Inference Protocol datatype that is not a number; its elements are UTF-8 strings here."""


def is_float(datatype: str) -> bool:
    """Whether its elements are floating point."""
    return datatype.startswith("FP")


def is_integer(datatype: str) -> bool:
    """Whether its elements are signed or unsigned integers."""
    return datatype.startswith(("INT", "UINT"))
