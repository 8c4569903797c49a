"""What a user declares about a table: entities, fields, window aggregates and views.

All are frozen values that check themselves when they are made. ``digest`` covers what determines the values a
definition yields; owner, description and tags may change without a new version.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from typing import Literal, TypeAlias, get_args

from raymlops.clock import time_zone_fault
from raymlops.errors import ConfigError
from raymlops.features.definitions.fields import NUMERIC, DType, Field, without_description
from raymlops.features.definitions.naming import (
    check_cases,
    check_column,
    check_text,
    check_unique,
    check_version,
    items_of,
    mapping_of,
    parse_reference,
)
from raymlops.records.names import check_name
from raymlops.records.record import sha256_of
from raymlops.records.shown import shown

__all__ = [
    "AggregateFunction",
    "Entity",
    "FeatureView",
    "WindowAggregate",
]

AggregateFunction: TypeAlias = Literal["count", "sum", "mean", "std", "min", "max", "last", "distinct"]

_ORDERED = NUMERIC | {"timestamp"}
_SUMMABLE = NUMERIC | {"bool"}
_FUNCTION_DTYPES: Mapping[str, Collection[str]] = {
    "sum": _SUMMABLE,
    "mean": _SUMMABLE,
    "std": _SUMMABLE,
    "min": _ORDERED,
    "max": _ORDERED,
}
_LONGEST = timedelta(days=365_250)


@shown(line=False)
@dataclass(frozen=True)
class Entity:
    """An entity: what features describe, with its key columns.

    Args:
        name: Name of the entity.
        keys: Columns that together name one of them; integers or strings. None at all: one entity, the world.
    """

    name: str
    keys: Sequence[str]

    def __post_init__(self) -> None:
        check_name("entity", self.name)
        keys = (self.keys,) if isinstance(self.keys, str) else items_of(f"entity {self.name!r}", "keys", self.keys, str)
        object.__setattr__(self, "keys", keys)
        for key in keys:
            check_column(f"entity {self.name!r}", key)
        check_unique(f"entity {self.name!r}", keys)

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of the definition."""
        return sha256_of({"entity": asdict(self)})


@shown(line=False)
@dataclass(frozen=True)
class WindowAggregate:
    """A number over the recent events of an entity: those with event time in ``(T - window, T]``.

    Missing values are left out; ``count`` counts the values present, ``distinct`` the different ones among them.
    Without a value these two are 0, all others are null. Sums are exact before they are rounded once, so that every
    way to compute them gives the same bits. ``std`` is the population's (0 for one event).

    Args:
        name: Name of the feature.
        function: ``count``, ``sum``, ``mean``, ``std``, ``min``, ``max``, ``last`` or ``distinct``.
        field: Field of the view it is computed from.
        window: Length of the window.
    """

    name: str
    function: AggregateFunction
    field: str
    window: timedelta

    def __post_init__(self) -> None:
        check_column("aggregate", self.name)
        if self.function not in get_args(AggregateFunction):
            known = get_args(AggregateFunction)
            raise ConfigError(f"aggregate {self.name!r}: function must be one of {known}, got {self.function!r}")
        _check_span(f"aggregate {self.name!r}: window", self.window)

    @property
    def counts(self) -> bool:
        """Whether it is a number of values: 0 without any, where others are null."""
        return self.function in {"count", "distinct"}

    @property
    def sums(self) -> bool:
        """Whether it needs the sum of the values."""
        return self.function in {"sum", "mean", "std"}


def _check_span(owner: str, span: object) -> None:
    if not isinstance(span, timedelta) or not timedelta(0) < span <= _LONGEST:
        raise ConfigError(f"{owner} must be a timedelta above 0 and at most 1,000 years, got {span!r}")


@shown(line=False)
@dataclass(frozen=True)
class FeatureView:
    """A table of timed facts about one entity, and the features read from it.

    Args:
        name: Name of the view; its columns in results are called ``NAME__FIELD``.
        entity: The entity, or the name of one that is applied.
        fields: The columns it offers.
        event_time: Column that tells when a row became true.
        created_at: Column that tells when a row became known; breaks ties, and is what ``knowledge_cutoff`` compares.
            Filled from the store's clock where an ingested table lacks it.
        ttl: A row older than this is not served; ``None`` and 0: never too old. Windows are not cut by it.
        source: Another view, ``NAME`` or ``NAME@VERSION``, whose table this view reads; ``None``: it has its own.
        owner: For people, like ``description`` and ``tags``.
        version: A changed definition needs a new one.
        aggregates: Numbers over windows of recent rows.
        online: Whether the online store keeps the view.
        join_keys: Key of the entity -> column of a spine or a request that holds it, where the two are named
            differently; ``aliased`` makes such views.
        continues: ``NAME@VERSION`` of a former view. The table of this view begins with the rows that the former view
            has when this one is applied. In them, a new field is its ``backfill``, or missing. A renamed field gives
            its former name in ``formerly``. An int64 may become a float64. Rows that break a rule of this view are put
            aside.
        time_zone: Zone of naive times in ingested tables and of instants that are written without one, such as
            ``Europe/Berlin``; ``None``: they are refused.
    """

    name: str
    entity: Entity | str
    fields: Sequence[Field]
    event_time: str = "event_time"
    created_at: str | None = None
    ttl: timedelta | None = None
    source: str | None = None
    owner: str = ""
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)
    version: int = 1
    aggregates: Sequence[WindowAggregate] = ()
    online: bool = True
    join_keys: Mapping[str, str] = field(default_factory=dict, hash=False)
    time_zone: str | None = None
    continues: str | None = None

    def __post_init__(self) -> None:
        check_name("view", self.name)
        owner = f"view {self.name!r}"
        check_version(owner, self.version)
        object.__setattr__(self, "fields", items_of(owner, "fields", self.fields, Field))
        object.__setattr__(self, "aggregates", items_of(owner, "aggregates", self.aggregates, WindowAggregate))
        object.__setattr__(self, "tags", mapping_of(owner, "tags", self.tags))
        object.__setattr__(self, "join_keys", mapping_of(owner, "join_keys", self.join_keys))
        check_text(owner, "owner", self.owner)
        check_text(owner, "description", self.description)
        if not isinstance(self.online, bool):
            raise ConfigError(f"{owner}: online must be true or false, got {self.online!r}")
        if not isinstance(self.entity, Entity):
            check_name("entity", self.entity)
        self._check_times(owner)
        check_unique(owner, self.feature_names)
        if not self.fields:
            raise ConfigError(f"{owner}: fields must not be empty, got {self.fields!r}")
        if self.source is not None:
            parse_reference(self.source)
        self._check_continues(owner)
        if isinstance(self.entity, Entity):
            self._check_entity(self.entity)
        for aggregate in self.aggregates:
            self._check_aggregate(aggregate)

    def _check_continues(self, owner: str) -> None:
        former = [column.name for column in self.fields if column.formerly is not None or column.backfill is not None]
        if self.continues is None and former:
            raise ConfigError(f"{owner}: formerly and backfill need a view that it continues, got {former}")
        if self.continues is None:
            return
        if parse_reference(self.continues)[1] is None or self.continues == self.ref:
            raise ConfigError(f"{owner}: continues must be NAME@VERSION of another view, got {self.continues!r}")
        if self.source is not None:
            raise ConfigError(f"{owner}: a view that continues another has its own table, got source {self.source!r}")

    def _check_times(self, owner: str) -> None:
        for name in (self.event_time, *([] if self.created_at is None else [self.created_at])):
            check_column(owner, name)
        check_unique(owner, (*self._time_columns, *(f.name for f in self.fields)))
        check_cases(owner, (*self._time_columns, *self.feature_names))
        if self.time_zone is not None and (fault := time_zone_fault(self.time_zone)) is not None:
            raise ConfigError(f"{owner}: {fault}")
        if self.ttl == timedelta(0):
            object.__setattr__(self, "ttl", None)
        if self.ttl is not None:
            _check_span(f"{owner}: ttl", self.ttl)

    def _check_entity(self, entity: Entity) -> None:
        owner = f"view {self.name!r}"
        unknown = sorted(self.join_keys.keys() - set(entity.keys))
        if unknown:
            raise ConfigError(f"{owner}: join_keys must rename keys of {entity.name!r}, got {unknown}")
        for column in self.join_keys.values():
            check_column(owner, column)
        check_unique(owner, self.join_columns)
        check_cases(owner, self.table_columns)
        for key in entity.keys:
            if key in self._time_columns:
                raise ConfigError(f"view {self.name!r}: a key must not be a time column, got {key!r}")
            dtype = next((f.dtype for f in self.fields if f.name == key), "string")
            if dtype not in {"int64", "string"}:
                raise ConfigError(f"view {self.name!r}: key {key!r} must be int64 or string, got {dtype!r}")

    def _check_aggregate(self, aggregate: WindowAggregate) -> None:
        owner = f"view {self.name!r}, aggregate {aggregate.name!r}"
        dtype = next((f.dtype for f in self.fields if f.name == aggregate.field), None)
        if dtype is None:
            raise ConfigError(f"{owner}: field must be one of the view's, got {aggregate.field!r}")
        allowed = _FUNCTION_DTYPES.get(aggregate.function, get_args(DType))
        if dtype not in allowed:
            raise ConfigError(f"{owner}: {aggregate.function} needs one of {sorted(allowed)}, got {dtype!r}")

    @property
    def _time_columns(self) -> tuple[str, ...]:
        return (self.event_time,) if self.created_at is None else (self.event_time, self.created_at)

    @property
    def ref(self) -> str:
        """``NAME@VERSION``, which names this definition for good."""
        return f"{self.name}@{self.version}"

    @property
    def keys(self) -> tuple[str, ...]:
        """The key columns.

        Raises:
            ConfigError: the entity is only named; ``resolved`` gives a view that knows its keys.
        """
        if isinstance(self.entity, str):
            raise ConfigError(f"view {self.name!r}: entity {self.entity!r} is only named, its keys are not known here")
        return tuple(self.entity.keys)

    @property
    def join_columns(self) -> tuple[str, ...]:
        """The columns of a spine or a request that hold the keys, in the keys' order."""
        return tuple(self.join_keys.get(key, key) for key in self.keys)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Fields, then aggregates."""
        return (*(f.name for f in self.fields), *(a.name for a in self.aggregates))

    @property
    def table_columns(self) -> tuple[str, ...]:
        """Columns the view reads: keys, times, fields; each once."""
        return tuple(dict.fromkeys((*self.keys, *self._time_columns, *(f.name for f in self.fields))))

    @property
    def longest_window(self) -> timedelta:
        """The longest window of the aggregates; 0 without any."""
        return max((a.window for a in self.aggregates), default=timedelta(0))

    def field(self, name: str) -> Field:
        """The field of that name; ``name`` must be one."""
        return next(f for f in self.fields if f.name == name)

    def dtype_of(self, feature: str) -> DType:
        """Type of a field's or an aggregate's values; ``feature`` must be one."""
        for aggregate in self.aggregates:
            if aggregate.name == feature:
                if aggregate.function in {"min", "max", "last"}:
                    return self.field(aggregate.field).dtype
                return "int64" if aggregate.counts else "float64"
        return self.field(feature).dtype

    def resolved(self, entities: Mapping[str, Entity]) -> FeatureView:
        """The same view with its entity in place of the entity's name; ``entities`` must hold it."""
        return replace(self, entity=entities[self.entity]) if isinstance(self.entity, str) else self

    def aliased(self, name: str, join_keys: Mapping[str, str], *, version: int = 1) -> FeatureView:
        """The same table under another name, joined by other columns.

        Args:
            name: Name of the new view, which reads this one's table.
            join_keys: Key of the entity -> column of the spine or the request, such as ``{"airport": "origin"}``.
            version: Version of the new view.
        """
        source = self.ref if self.source is None else self.source
        fields = tuple(replace(column, formerly=None, backfill=None) for column in self.fields)
        return replace(
            self, name=name, source=source, join_keys=join_keys, version=version, continues=None, fields=fields
        )

    def narrowed(self, features: Collection[str]) -> FeatureView:
        """The same view with only some features, and the fields that their aggregates need."""
        aggregates = tuple(aggregate for aggregate in self.aggregates if aggregate.name in features)
        needed = {aggregate.field for aggregate in aggregates} | set(features)
        fields = tuple(column for column in self.fields if column.name in needed)
        return replace(self, fields=fields, aggregates=aggregates)

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of all that determines values."""
        parts = {
            "name": self.name,
            "entity": self.entity if isinstance(self.entity, str) else asdict(self.entity),
            "fields": [without_description(f) for f in self.fields],
            "times": [self.event_time, self.created_at],
            "ttl_s": None if self.ttl is None else self.ttl.total_seconds(),
            "source": self.source,
            "version": self.version,
            "aggregates": [{**asdict(a), "window": a.window.total_seconds()} for a in self.aggregates],
            "online": self.online,
            **({"join_keys": self.join_keys} if self.join_keys else {}),
            **({"time_zone": self.time_zone} if self.time_zone else {}),
            **({"continues": self.continues} if self.continues else {}),
        }
        return sha256_of({"view": parts})
