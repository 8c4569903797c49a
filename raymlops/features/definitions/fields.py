"""The typed columns of a view, and the constraints on their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias, get_args

from raymlops.errors import ConfigError
from raymlops.features.definitions.naming import check_column, check_text, items_of
from raymlops.records.shown import shown

__all__ = ["NUMERIC", "DType", "Field", "without_description"]

DType: TypeAlias = Literal["int64", "float64", "bool", "string", "timestamp"]
Scalar: TypeAlias = str | int | float | bool
_ALLOWED_KINDS: Mapping[str, tuple[type, ...]] = {
    "int64": (int,),
    "float64": (int, float),
    "bool": (bool,),
    "string": (str,),
}
_FARTHEST = 1e300
NUMERIC = frozenset({"int64", "float64"})


@shown(line=False)
@dataclass(frozen=True)
class Field:
    """One typed column of a view, with the constraints that ingested values must meet.

    Args:
        name: Name of the column.
        dtype: ``int64``, ``float64``, ``bool``, ``string`` or ``timestamp``. A NaN counts as missing.
        nullable: Whether values may be missing.
        ge: Smallest value allowed.
        le: Largest value allowed.
        allowed: The only values allowed; not for timestamps.
        description: For people.
        formerly: Name of the field in the view that is continued; ``None``: the same name.
        backfill: Value of a new field in the rows of the view that is continued; ``None``: missing.
    """

    name: str
    dtype: DType
    nullable: bool = True
    ge: float | None = None
    le: float | None = None
    allowed: Sequence[Scalar] | None = None
    description: str = ""
    formerly: str | None = None
    backfill: Scalar | None = None

    def __post_init__(self) -> None:
        check_column("field", self.name)
        if self.dtype not in get_args(DType):
            raise ConfigError(f"field {self.name!r}: dtype must be one of {get_args(DType)}, got {self.dtype!r}")
        for bound in ("ge", "le"):
            limit = getattr(self, bound)
            if limit is not None and self.dtype not in NUMERIC:
                raise ConfigError(f"field {self.name!r}: {bound} needs an int64 or float64, got {self.dtype!r}")
            if limit is not None:
                object.__setattr__(self, bound, self._bound(bound, limit))
        if self.ge is not None and self.le is not None and self.ge > self.le:
            raise ConfigError(f"field {self.name!r}: ge must not exceed le, got {self.ge} > {self.le}")
        if not isinstance(self.nullable, bool):
            raise ConfigError(f"field {self.name!r}: nullable must be true or false, got {self.nullable!r}")
        check_text(f"field {self.name!r}", "description", self.description)
        self._check_history()
        if self.allowed is not None:
            values = items_of(f"field {self.name!r}", "allowed", self.allowed, object)
            if not values:
                raise ConfigError(f"field {self.name!r}: allowed must not be empty, got {self.allowed!r}")
            object.__setattr__(self, "allowed", tuple(self._value("allowed", value) for value in values))

    def allows(self, value: Scalar) -> bool:
        """Whether a value of the field's type is within ``ge`` and ``le``, and among those ``allowed``."""
        if isinstance(value, int | float):
            if self.ge is not None and value < self.ge:
                return False
            if self.le is not None and value > self.le:
                return False
        return self.allowed is None or value in self.allowed

    def _check_history(self) -> None:
        if self.formerly is not None:
            check_column(f"field {self.name!r}: formerly", self.formerly)
        if self.backfill is not None:
            object.__setattr__(self, "backfill", self._value("backfill", self.backfill))

    def _bound(self, name: str, limit: object) -> float:
        if isinstance(limit, int | float) and not isinstance(limit, bool) and abs(limit) <= _FARTHEST:
            return float(limit)
        raise ConfigError(f"field {self.name!r}: {name} must be a finite number, got {limit!r}")

    def _value(self, attribute: str, value: Scalar) -> Scalar:
        kinds = _ALLOWED_KINDS.get(self.dtype, ())
        if isinstance(value, kinds) and (self.dtype == "bool") == isinstance(value, bool):
            if isinstance(value, str):
                check_text(f"field {self.name!r}", attribute, value)
                return value
            if self.dtype == "bool" or abs(value) <= (_FARTHEST if self.dtype == "float64" else 2**63 - 1):
                return float(value) if self.dtype == "float64" else value
        raise ConfigError(f"field {self.name!r}: {attribute} must hold values of {self.dtype}, got {value!r}")


def without_description(column: Field) -> dict[str, object]:
    """All of a field that determines values."""
    added = {"formerly", "backfill"}  # left out where not used: definitions that are older keep their digests
    parts = asdict(column).items()
    return {name: value for name, value in parts if name != "description" and not (name in added and value is None)}
