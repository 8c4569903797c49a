"""Names that a model's inputs may have, so that what is answered can be recorded under them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from raymlops.errors import SchemaMismatch
from raymlops.serving.events import EVENT_SCHEMA

__all__ = ["check_input_names"]

_SEQUENCE = "_seq"
"""The column that the log numbers its rows by."""
_CONTROL = ("Cc", "Cs")


def check_input_names(names: Sequence[str]) -> None:
    """Refuse inputs that no table of events can hold beside its own columns. Tables do not tell A from a.

    Raises:
        SchemaMismatch: A name is one of the events' own, or another input's, but for upper and lower case; or it holds
            a control character.
    """
    odd = [name for name in names if any(unicodedata.category(char) in _CONTROL for char in name)]
    if odd:
        raise SchemaMismatch(f"inputs {odd} must not have control characters in their names", columns=odd)
    taken = {name.lower() for name in (*EVENT_SCHEMA.names, _SEQUENCE)}
    reserved = sorted(name for name in names if name.lower() in taken)
    if reserved:
        rule = "have names that prediction events use, whatever their case"
        raise SchemaMismatch(f"inputs {reserved} {rule}: rename them", columns=reserved)
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(name.lower(), name)
        if other != name:
            raise SchemaMismatch(
                f"inputs {other!r} and {name!r} differ in case only: rename one", columns=[other, name]
            )
