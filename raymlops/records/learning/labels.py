"""What a label is called, and which class it names."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from raymlops.errors import DataError

if TYPE_CHECKING:
    from raymlops.records.learning.signatures import Signature

__all__ = ["LabelNames", "label_text"]

_SHOWN = 60


def label_text(value: object) -> str:
    """The one text of a label or class, so that ``1``, ``1.0``, ``True`` and ``"1"`` name the same class."""
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    text = str(value)
    return {"true": "1", "false": "0"}.get(text.lower(), text)


class LabelNames:
    """Which labels a model's are, and what others are declared to stand for.

    Args:
        signature: The model's.
        declared: Label -> the class it stands for, such as ``{"yes": 1, "no": 0}``.

    Raises:
        DataError: The model has no classes, or a label stands for none of them, or for two.
    """

    def __init__(self, signature: Signature, declared: Mapping[Any, Any] | None = None) -> None:
        self._signature = signature
        self._classes = {label_text(known): known for known in signature.classes}
        if declared and not self._classes:
            raise DataError("labels of a regressor are numbers: nothing can be declared to stand for a class")
        self._declared: dict[str, Any] = {}
        for name, stands_for in (declared or {}).items():
            if label_text(stands_for) not in self._classes:
                raise DataError(f"label {_shown(name)} must stand for {self._known()}, got {_shown(stands_for)}")
            known = self._classes[label_text(stands_for)]
            if self._declared.setdefault(label_text(name), known) != known:
                raise DataError(f"label {_shown(name)} must stand for one class, got two: 'true' and '1' are one label")

    def find_declared(self, value: object) -> Any:
        """The class that a label was declared to stand for, or ``None``."""
        return self._declared.get(label_text(value)) if self._declared else None

    def refusal(self, value: object) -> DataError:
        """What to raise about a label that names no class, or is no number of a regressor."""
        if not self._classes:
            return DataError(f"'label' of a regressor must be a finite number, got {_shown(value)}")
        remedy = "declare which class it stands for, such as {'yes': 1}"
        return DataError(f"'label' must be {self._known()}, got {_shown(value)}: {remedy}")

    def texts(self, values: Iterable[object]) -> list[str | None]:
        """Labels as they are kept: the texts of classes, or of numbers; ``None`` stays.

        Raises:
            DataError: One names no class, or is no number of a regressor.
        """
        read: dict[object, str] = {}
        return [None if value is None else self._text(value, read) for value in values]

    def _text(self, value: object, read: dict[object, str]) -> str:
        if isinstance(value, list | dict):
            raise self.refusal(value)
        key = (type(value), value)
        if key not in read:
            found = value
            if self._classes:
                found = self._declared.get(label_text(value), self._classes.get(label_text(value)))
            if found is None or not (self._classes or _is_finite(value)):
                raise self.refusal(value)
            read[key] = label_text(found)
        return read[key]

    def _known(self) -> str:
        return f"one of the classes {list(self._signature.classes)}"


def _is_finite(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def _shown(value: object) -> str:
    return repr(value)[:_SHOWN]
