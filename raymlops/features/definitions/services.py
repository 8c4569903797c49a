"""What a user declares about a model's inputs: services and on-demand views."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from dataclasses import field as dataclass_field
from functools import cached_property
from typing import Any, get_args

from raymlops.errors import ConfigError
from raymlops.features.definitions.fields import DType, Field, without_description
from raymlops.features.definitions.naming import (
    check_column,
    check_unique,
    check_version,
    column_name,
    items_of,
    mapping_of,
    parse_feature,
    seen_as,
)
from raymlops.records.names import check_name
from raymlops.records.record import sha256_of
from raymlops.records.shown import shown

__all__ = ["FeatureService", "OnDemandView"]

_LONGEST_EXAMPLE = 1_000
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@shown(line=False)
@dataclass(frozen=True)
class FeatureService:
    """The features of one model, in the model's order.

    Args:
        name: Name of the service.
        features: ``VIEW:FIELD``, where the field may be an aggregate and the view an on-demand view. Views are pinned
            to their newest version when the service is applied; ``VIEW@VERSION:FIELD`` pins one by hand. None of them:
            for a model whose inputs are all columns of the request.
        version: A changed definition needs a new one.
    """

    name: str
    features: Sequence[str]
    version: int = 1

    def __post_init__(self) -> None:
        check_name("service", self.name)
        owner = f"service {self.name!r}"
        check_version(owner, self.version)
        object.__setattr__(self, "features", items_of(owner, "features", self.features, str))
        check_unique(owner, (column_name(view, name) for view, _, name in map(parse_feature, self.features)))

    @property
    def ref(self) -> str:
        """``NAME@VERSION``, which names this definition for good."""
        return f"{self.name}@{self.version}"

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of the definition."""
        return sha256_of({"service": asdict(self)})


@shown(line=False)
@dataclass(frozen=True)
class OnDemandView:
    """Features computed from other features and from the request, by one function on both sides.

    When the view is applied the function is tried on an example, in one call and row by row, and refused where the
    values are not the same bits, or where it raises, changes its inputs or returns what is not declared.

    Args:
        name: Name of the view.
        inputs: ``VIEW:FIELD`` for a feature, which the function sees as ``VIEW__FIELD``, or the plain name of a
            request column.
        fields: What the function returns.
        function: ``module:function``, from a mapping of NumPy columns to a mapping of NumPy columns. It must treat
            every row by itself (a matrix product does not: its bits depend on the number of rows; multiply and sum
            instead), and must not write to its inputs. Numbers come as float64 (missing: NaN), text as
            object (missing: ``None``), timestamps as datetime64[us] (missing: NaT). Wherever features are read or
            computed it must be importable, with the code that was applied: a changed function goes beside the old
            one, under a new name, for as long as that is used.
        version: A changed definition, or function, needs a new one.
        request_types: Types of the request columns that are not float64.
        example: Input, as declared or as the function sees it, -> values that are typical together, one per row, two
            to 1,000 rows; a table does too. ``None``: an example is made up from the declared types and constraints.
            Either way rows with missing values are tried as well. Used when the view is applied, and not kept.
        code: Digest of the function's source; filled in when the view is applied.
    """

    name: str
    inputs: Sequence[str]
    fields: Sequence[Field]
    function: str
    version: int = 1
    request_types: Mapping[str, DType] = dataclass_field(default_factory=dict, hash=False)
    example: Mapping[str, Sequence[Any]] | None = dataclass_field(default=None, hash=False, compare=False, repr=False)
    code: str = dataclass_field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        check_name("on-demand view", self.name)
        owner = f"on-demand view {self.name!r}"
        check_version(owner, self.version)
        object.__setattr__(self, "inputs", items_of(owner, "inputs", self.inputs, str))
        object.__setattr__(self, "fields", items_of(owner, "fields", self.fields, Field))
        check_unique(owner, (f.name for f in self.fields))
        if not self.inputs or not self.fields:
            raise ConfigError(f"{owner}: inputs and fields must not be empty, got {self.inputs!r}, {self.fields!r}")
        for name in self.request_inputs:
            check_column(owner, name)
        for reference in self.feature_inputs:
            parse_feature(reference)
        check_unique(owner, map(seen_as, self.inputs))
        object.__setattr__(self, "request_types", mapping_of(owner, "request_types", self.request_types))
        for name, dtype in self.request_types.items():
            if name not in self.request_inputs or dtype not in get_args(DType):
                rule = f"request_types must give one of {get_args(DType)} for a plain input"
                raise ConfigError(f"{owner}: {rule}, got {name!r}: {dtype!r}")
        if not isinstance(self.function, str) or _FUNCTION.fullmatch(self.function) is None:
            raise ConfigError(f"{owner}: function must be module:function, got {self.function!r}")
        if self.function.startswith("__main__:"):
            rule = "function must be in a module that other processes can import"
            raise ConfigError(f"{owner}: {rule}, got {self.function!r}")
        if self.example is not None:
            object.__setattr__(self, "example", self._checked(self.example))

    def _checked(self, example: Any) -> dict[str, tuple[Any, ...]]:
        """An example by the names that the function sees."""
        owner = f"on-demand view {self.name!r}"
        if not hasattr(example, "__getitem__") or isinstance(example, str | Sequence):
            raise ConfigError(f"{owner}: example must be a table or a mapping of columns, got {example!r}")
        names = list(getattr(example, "column_names", example))
        seen = {reference: seen_as(reference) for reference in self.inputs}
        columns = [seen.get(name, name) for name in names]
        check_unique(f"{owner}: example", columns)
        if set(columns) != set(seen.values()):
            raise ConfigError(f"{owner}: example must have columns {sorted(seen.values())}, got {sorted(names)}")
        values = {column: _plain(owner, name, example[name]) for column, name in zip(columns, names, strict=True)}
        rows = {len(column) for column in values.values()}
        if len(rows) != 1 or not 2 <= min(rows) <= _LONGEST_EXAMPLE:
            rule = f"example must have the same number of rows, two to {_LONGEST_EXAMPLE:,}, in every column"
            raise ConfigError(f"{owner}: {rule}, got {dict(zip(values, map(len, values.values()), strict=True))}")
        return values

    @property
    def ref(self) -> str:
        """``NAME@VERSION``, which names this definition for good."""
        return f"{self.name}@{self.version}"

    @property
    def feature_inputs(self) -> tuple[str, ...]:
        """The inputs that are features."""
        return tuple(name for name in self.inputs if ":" in name)

    @property
    def request_inputs(self) -> tuple[str, ...]:
        """The inputs that come with the request, or in the spine."""
        return tuple(name for name in self.inputs if ":" not in name)

    def request_type(self, name: str) -> DType:
        """Type of a request column."""
        return self.request_types.get(name, "float64")

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of all that determines values; the function's code is covered once the view is applied."""
        parts = {**asdict(replace(self, example=None)), "fields": [without_description(f) for f in self.fields]}
        del parts["example"]
        if not self.code:
            del parts["code"]
        return sha256_of({"on_demand": parts})


def _plain(owner: str, name: str, column: Any) -> tuple[Any, ...]:
    for method in ("to_pylist", "tolist"):
        if hasattr(column, method):
            return tuple(getattr(column, method)())
    return items_of(f"{owner}: example", repr(name), column, object)
