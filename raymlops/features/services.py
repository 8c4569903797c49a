"""What a user declares about a model's inputs: services and on-demand views."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from dataclasses import field as dataclass_field
from functools import cached_property
from typing import TypeAlias, get_args

from raymlops.errors import ConfigError
from raymlops.features.definitions import DType, Entity, FeatureView, Field, without_description
from raymlops.features.naming import check_column, check_name, check_unique, check_version, column_name, parse_feature
from raymlops.records.record import sha256_of

__all__ = ["Definition", "FeatureService", "OnDemandView"]

_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class FeatureService:
    """The features of one model, in the model's order.

    Args:
        name: Name of the service.
        features: ``VIEW:FIELD``, where the field may be an aggregate and the view an on-demand view. Views are pinned
            to their newest version when the service is applied; ``VIEW@VERSION:FIELD`` pins one by hand.
        version: A changed definition needs a new one.
    """

    name: str
    features: Sequence[str]
    version: int = 1

    def __post_init__(self) -> None:
        check_name("service", self.name)
        owner = f"service {self.name!r}"
        check_version(owner, self.version)
        object.__setattr__(self, "features", tuple(self.features))
        if not self.features:
            raise ConfigError(f"{owner}: features must not be empty, got {self.features!r}")
        check_unique(owner, (column_name(view, name) for view, _, name in map(parse_feature, self.features)))

    @property
    def ref(self) -> str:
        """``NAME@VERSION``, which names this definition for good."""
        return f"{self.name}@{self.version}"

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of the definition."""
        return sha256_of({"service": asdict(self)})


@dataclass(frozen=True)
class OnDemandView:
    """Features computed from other features and from the request, by one function on both sides.

    Args:
        name: Name of the view.
        inputs: ``VIEW:FIELD`` for a feature, which the function sees as ``VIEW__FIELD``, or the plain name of a
            request column.
        fields: What the function returns.
        function: ``module:function``, from a mapping of NumPy columns to a mapping of NumPy columns. It must treat
            every row by itself. Numbers come as float64 (missing: NaN), text as object (missing: ``None``),
            timestamps as datetime64[us] (missing: NaT).
        version: A changed definition, or function, needs a new one.
        request_types: Types of the request columns that are not float64.
    """

    name: str
    inputs: Sequence[str]
    fields: Sequence[Field]
    function: str
    version: int = 1
    request_types: Mapping[str, DType] = dataclass_field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        check_name("on-demand view", self.name)
        owner = f"on-demand view {self.name!r}"
        check_version(owner, self.version)
        object.__setattr__(self, "inputs", tuple(self.inputs))
        object.__setattr__(self, "fields", tuple(self.fields))
        check_unique(owner, self.inputs)
        check_unique(owner, (f.name for f in self.fields))
        if not self.inputs or not self.fields:
            raise ConfigError(f"{owner}: inputs and fields must not be empty, got {self.inputs!r}, {self.fields!r}")
        for name in self.request_inputs:
            check_column(owner, name)
        for reference in self.feature_inputs:
            parse_feature(reference)
        object.__setattr__(self, "request_types", dict(self.request_types))
        for name, dtype in self.request_types.items():
            if name not in self.request_inputs or dtype not in get_args(DType):
                rule = f"request_types must give one of {get_args(DType)} for a plain input"
                raise ConfigError(f"{owner}: {rule}, got {name!r}: {dtype!r}")
        if _FUNCTION.fullmatch(self.function) is None:
            raise ConfigError(f"{owner}: function must be module:function, got {self.function!r}")

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

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of all that determines values, but the function's own code."""
        return sha256_of({"on_demand": {**asdict(self), "fields": [without_description(f) for f in self.fields]}})


Definition: TypeAlias = Entity | FeatureView | FeatureService | OnDemandView
