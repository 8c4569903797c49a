"""The applied definitions, and how references to them are resolved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TypeAlias

from raymlops.errors import ConfigError, FeatureViewNotFound
from raymlops.features.definitions.fields import DType
from raymlops.features.definitions.naming import column_name, parse_feature, parse_reference
from raymlops.features.definitions.services import FeatureService, OnDemandView
from raymlops.features.definitions.views import Entity, FeatureView
from raymlops.records.record import Record

__all__ = [
    "AppliedOnDemand",
    "AppliedService",
    "AppliedView",
    "CatalogState",
    "Definition",
    "ResolvedService",
    "ResolvedView",
    "newest",
    "table_name",
]

Definition: TypeAlias = Entity | FeatureView | FeatureService | OnDemandView
"""What ``apply`` takes."""


def newest(known: Iterable[str], reference: str, what: str) -> str:
    """The full reference of ``NAME@VERSION``, or of the newest version of ``NAME``.

    Raises:
        FeatureViewNotFound: nothing of that name is among the known references.
    """
    name, version = parse_reference(reference)
    references = sorted(known)
    versions = [int(ref.rpartition("@")[2]) for ref in references if ref.rpartition("@")[0] == name]
    if not versions or (version is not None and version not in versions):
        raise FeatureViewNotFound(f"{what} {reference!r} is not applied, got {references}", name=reference)
    return f"{name}@{version or max(versions)}"


def table_name(view: FeatureView) -> str:
    """Name of the table that a view owns."""
    return view.name if view.version == 1 else view.ref


class AppliedView(Record):
    """A view and the table it reads."""

    view: FeatureView
    """Its ``entity`` is an ``Entity``, never a name."""
    owner: str
    """Reference of the view whose table it reads, itself for most."""
    continued_version: int | None = None
    """Version of the continued view's table whose rows this view's table begins with; ``None``: it begins empty."""


def by_history(views: Mapping[str, AppliedView]) -> list[str]:
    """References of the views that continue others, each after the one it continues.

    Raises:
        ConfigError: views continue each other in a circle.
    """
    former = {ref: [applied.view.continues] for ref, applied in views.items() if applied.view.continues is not None}
    try:
        return [ref for ref in TopologicalSorter(former).static_order() if ref in former]
    except CycleError as error:
        circle = " -> ".join(error.args[1])
        raise ConfigError(f"views must not continue each other in a circle, got {circle}") from error


class AppliedService(Record):
    """An applied service, and the view versions that it is pinned to."""

    service: FeatureService
    pins: dict[str, str]
    """View or on-demand view -> reference of the version it was pinned to."""


class AppliedOnDemand(Record):
    """An applied on-demand view, and the versions that it is pinned to."""

    view: OnDemandView
    pins: dict[str, str]


@dataclass(frozen=True)
class ResolvedView:
    """A view of a service, with what the service needs of it."""

    view: FeatureView
    table: str
    features: tuple[str, ...]


@dataclass(frozen=True)
class ResolvedService:
    """A service with its views and on-demand views resolved."""

    service: FeatureService
    views: tuple[ResolvedView, ...]
    on_demand: tuple[OnDemandView, ...]
    columns: Mapping[str, DType]
    """Column name ``VIEW__FIELD`` -> type, in the service's order."""


class CatalogState(Record):
    """All definitions, by ``NAME@VERSION`` (entities: by name)."""

    entities: dict[str, Entity]
    views: dict[str, AppliedView]
    services: dict[str, AppliedService]
    on_demand: dict[str, AppliedOnDemand]

    def view(self, reference: str) -> FeatureView:
        """The view ``NAME@VERSION``, or the newest version of ``NAME``.

        Raises:
            FeatureViewNotFound: it is not applied.
        """
        return self.views[newest(self.views, reference, "view")].view

    def service(self, reference: str) -> FeatureService:
        """The service ``NAME@VERSION``, or the newest version of ``NAME``.

        Raises:
            FeatureViewNotFound: it is not applied.
        """
        return self.services[newest(self.services, reference, "service")].service

    def definitions(self) -> list[Definition]:
        """Entities, views, on-demand views, services; each kind by name and version."""
        found: list[Definition] = [self.entities[name] for name in sorted(self.entities)]
        found += [self.views[ref].view for ref in sorted(self.views, key=parse_reference)]
        found += [self.on_demand[ref].view for ref in sorted(self.on_demand, key=parse_reference)]
        found += [self.services[ref].service for ref in sorted(self.services, key=parse_reference)]
        return found

    def table_of(self, view: FeatureView) -> str:
        """Name of the table that an applied view reads."""
        return table_name(self.views[self.views[view.ref].owner].view)

    def tables(self) -> set[str]:
        """Names of all tables."""
        return {self.table_of(applied.view) for applied in self.views.values()}

    def views_on(self, table: str) -> list[FeatureView]:
        """All views that read a table, its owner first."""
        found = [applied for applied in self.views.values() if self.table_of(applied.view) == table]
        return [applied.view for applied in sorted(found, key=lambda applied: applied.owner != applied.view.ref)]

    def resolve(self, reference: str) -> ResolvedService:
        """A service with its views, the features needed of each, and its on-demand views.

        Raises:
            FeatureViewNotFound: it is not applied.
        """
        applied = self.services[newest(self.services, reference, "service")]
        needed: dict[str, dict[str, None]] = {}
        on_demand: dict[str, OnDemandView] = {}
        columns: dict[str, DType] = {}

        def need(pins: Mapping[str, str], feature: str) -> None:
            name, _, field = parse_feature(feature)
            needed.setdefault(pins[name], {})[field] = None

        for feature in applied.service.features:
            name, _, field = parse_feature(feature)
            computed = self.on_demand.get(applied.pins[name])
            if computed is None:
                need(applied.pins, feature)
                dtype = self.views[applied.pins[name]].view.dtype_of(field)
            else:
                on_demand[computed.view.ref] = computed.view
                for needs in computed.view.feature_inputs:
                    need(computed.pins, needs)
                dtype = next(column.dtype for column in computed.view.fields if column.name == field)
            columns[column_name(name, field)] = dtype
        views = tuple(
            ResolvedView(self.views[ref].view, self.table_of(self.views[ref].view), tuple(features))
            for ref, features in needed.items()
        )
        return ResolvedService(applied.service, views, tuple(on_demand.values()), columns)
