"""A draft of the catalog: the applied definitions and those to be applied."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar, cast

from raymlops.errors import AlreadyRegistered
from raymlops.features.catalog.applied import (
    AppliedOnDemand,
    AppliedService,
    AppliedView,
    CatalogState,
    Definition,
    by_history,
)
from raymlops.features.catalog.differences import differences, documentation_changes
from raymlops.features.catalog.faults import Faults
from raymlops.features.catalog.references import (
    check_continued,
    check_on_demand,
    check_service,
    check_view,
    pins_of,
    source_of,
)
from raymlops.features.definitions.naming import parse_reference
from raymlops.features.definitions.services import FeatureService, OnDemandView
from raymlops.features.definitions.source_code import function_source
from raymlops.features.definitions.views import Entity, FeatureView
from raymlops.records.features import ApplyReport, DefinitionChange
from raymlops.records.names import NameKind, check_case

__all__ = ["Draft", "NewestOf"]

NewestOf: TypeAlias = Callable[[str], tuple[int, Any] | None]
Kind = TypeVar("Kind")


class Draft:
    """Takes definitions in any order and collects all their faults.

    What is refused is in the draft all the same: whatever refers to it is judged by what was meant.

    Args:
        state: What is applied.
        definitions: What is to be.
        newest_of: Tells the newest version of a table and its Arrow schema; ``None`` where there is no table.
    """

    def __init__(
        self,
        state: CatalogState,
        definitions: Sequence[Definition],
        newest_of: NewestOf | None = None,
    ) -> None:
        self._newest_of = newest_of
        self.faults = Faults()
        self._state = state
        self._entities = dict(state.entities)
        self._views = dict(state.views)
        self._on_demand = dict(state.on_demand)
        self._services = dict(state.services)
        self._given: dict[str, Definition] = {}
        self._names = {kind: {parse_reference(ref)[0] for ref in known} for kind, known in _refs(state).items()}
        self._fresh: set[str] = set()
        self._added: list[str] = []
        self._unchanged: list[str] = []
        self._changed: list[DefinitionChange] = []
        self._refused: list[DefinitionChange] = []
        self._taken = _versions(state, definitions)
        self._place_all(definitions)
        self._check_all()

    def state(self) -> CatalogState:
        """The catalog with the definitions; only without faults."""
        return CatalogState(
            entities=self._entities, views=self._views, services=self._services, on_demand=self._on_demand
        )

    def report(self, *, dry_run: bool) -> ApplyReport:
        """The report of what was applied, or would be."""
        return ApplyReport(
            added=tuple(self._added),
            unchanged=tuple(self._unchanged),
            changed=tuple(self._changed),
            refused=tuple(self._refused),
            faults=tuple(self.faults.messages),
            dry_run=dry_run,
        )

    def _place_all(self, definitions: Sequence[object]) -> None:
        for given in definitions:
            if not isinstance(given, Entity | FeatureView | OnDemandView | FeatureService):
                what = "entities, views, on-demand views and services"
                self.faults.add(f"definitions must be {what}, got {type(given).__name__} {given!r:.80}")
        for entity in _of(Entity, definitions):
            self._place_entity(entity, named=True)
        for view in _of(FeatureView, definitions):
            self._place_view(view)
        for computed in _of(OnDemandView, definitions):
            self._place_on_demand(computed)
        for service in _of(FeatureService, definitions):
            applied = self._services.get(service.ref)
            if self._is_new("service", service.ref, None if applied is None else applied.service, service):
                self._services[service.ref] = AppliedService(service=service, pins={})

    def _place_entity(self, entity: Entity, *, named: bool) -> None:
        if (named or self._entities.get(entity.name) != entity) and self._is_new(
            "entity", entity.name, self._entities.get(entity.name), entity
        ):
            self._entities[entity.name] = entity

    def _place_view(self, view: FeatureView) -> None:
        name = f"view {view.ref!r}"
        if isinstance(view.entity, Entity):
            self._place_entity(view.entity, named=False)
        elif view.entity in self._entities:
            with self.faults.noted(name):
                view = view.resolved(self._entities)
        else:
            self.faults.add(f"{name}: entity {view.entity!r} is not applied")
        present = self._views.get(view.ref)
        if self._is_new("view", view.ref, None if present is None else present.view, view):
            self._views[view.ref] = AppliedView(view=view, owner=view.ref)
        elif present is not None:
            self._views[view.ref] = present.model_copy(update={"view": view})

    def _place_on_demand(self, view: OnDemandView) -> None:
        present = self._on_demand.get(view.ref)
        with self.faults.noted(f"on-demand view {view.ref!r}"):
            view = replace(view, code=function_source(view.function).digest)
        before = None if present is None else present.view
        # Definitions that were applied when the code was not yet kept, or whose code is not there now, have none.
        comparable = view if before is None or (before.code and view.code) else replace(view, code=before.code)
        if self._is_new("on-demand view", view.ref, before, comparable):
            self._on_demand[view.ref] = AppliedOnDemand(view=view, pins={})
        elif present is not None:
            kept = replace(view, example=None, code=view.code or present.view.code)
            self._on_demand[view.ref] = present.model_copy(update={"view": kept})

    def _is_new(self, kind: str, name: str, present: Definition | None, given: Definition) -> bool:
        """Whether the definition is to be put into the draft; notes what becomes of it."""
        label = f"{kind} {name}"
        if label in self._given:
            told = [*differences(self._given[label], given), *documentation_changes(self._given[label], given)]
            if told:
                self.faults.add(f"{kind} {name!r} is given twice: {', '.join(map(str, told))}")
            return False
        self._given[label] = given
        if present is None:
            self._check_case(kind, parse_reference(name)[0])
            self._added.append(label)
        elif present.digest == given.digest:
            self._unchanged.append(label)
            documentation = documentation_changes(present, given)
            if documentation:
                self._changed.append(DefinitionChange(name=label, attributes=documentation))
            return False
        else:
            self._refuse(kind, name, DefinitionChange(name=label, attributes=differences(present, given)))
        self._fresh.add(label)
        return True

    def _continue(self, view: FeatureView, views: Mapping[str, FeatureView]) -> None:
        """Pin the version of the table whose rows a view's own is to begin with."""
        former = views.get(str(view.continues))
        if former is None:
            self.faults.add(f"view {view.ref!r}: continues {view.continues!r}, which is not applied")
            return
        version, schema = None, None
        owner = self._state.views.get(self._views[former.ref].owner)
        if owner is None:
            # the former view is applied now, too; if it continues another, version 0 of its table will hold those rows
            version = None if self._views[former.ref].continued_version is None else 0
        elif self._newest_of is not None and (newest := self._newest_of(self._state.table_of(owner.view))) is not None:
            version, schema = newest
        check_continued(view, former, schema, self.faults)
        self._views[view.ref] = self._views[view.ref].model_copy(update={"continued_version": version})

    def _check_case(self, kind: str, name: str) -> None:
        """Refuse a name that differs from a known one by case alone; it is known from here on."""
        known = self._names["view" if kind == "on-demand view" else kind]
        with self.faults.noted():
            check_case(cast("NameKind", kind), name, known)
        known.add(name)

    def _refuse(self, kind: str, name: str, change: DefinitionChange) -> None:
        rule = "an entity has no versions, give the changed one a new name"
        if kind != "entity":
            bare = parse_reference(name)[0]
            free = 1 + max(version for taken, known, version in self._taken if (taken, known) == (kind, bare))
            rule = f"give the changed one a new version ({free} is free)"
            change = change.model_copy(update={"free_version": free})
        self._refused.append(change)
        told = ", ".join(map(str, change.attributes))
        error = AlreadyRegistered(f"{kind} {name!r}: {told}: {rule}", name=name, kind=kind, change=change.model_dump())
        self.faults.errors.append(error)

    def _check_all(self) -> None:
        views = {ref: applied.view for ref, applied in self._views.items()}
        computed = {ref: applied.view for ref, applied in self._on_demand.items()}
        names = {view.name for view in computed.values()}
        for ref, applied in self._views.items():
            if f"view {ref}" in self._fresh:
                owner = source_of(applied.view, views, self.faults)
                self._views[ref] = AppliedView(view=applied.view, owner=owner or ref)
                check_view(applied.view, None if owner is None else views[owner], names, self.faults)
        with self.faults.noted():
            for ref in by_history(self._views):
                if f"view {ref}" in self._fresh:
                    self._continue(views[ref], views)
        for ref, on_demand in self._on_demand.items():
            if f"on-demand view {ref}" in self._fresh:
                view = on_demand.view
                pins = pins_of(f"on-demand view {ref!r}", view.feature_inputs, views, {}, self.faults)
                check_on_demand(view, pins, views, self.faults)
                self._on_demand[ref] = AppliedOnDemand(view=replace(view, example=None), pins=pins)
        for ref, service in self._services.items():
            if f"service {ref}" in self._fresh:
                owner = f"service {ref!r}"
                pins = pins_of(owner, service.service.features, views, self._on_demand, self.faults)
                check_service(owner, service.service, pins, views, computed, self.faults)
                self._services[ref] = AppliedService(service=service.service, pins=pins)


def _refs(state: CatalogState) -> dict[str, list[str]]:
    """Kind -> references of all that is applied; on-demand views share the names of views."""
    return {
        "entity": list(state.entities),
        "view": [*state.views, *state.on_demand],
        "service": list(state.services),
    }


def _versions(state: CatalogState, definitions: Sequence[object]) -> set[tuple[str, str, int]]:
    """Kind, name and version of all that is applied or given."""
    views = [*(applied.view for applied in state.views.values()), *_of(FeatureView, definitions)]
    services = [*(applied.service for applied in state.services.values()), *_of(FeatureService, definitions)]
    on_demand = [*(applied.view for applied in state.on_demand.values()), *_of(OnDemandView, definitions)]
    return {
        *(("view", view.name, view.version) for view in views),
        *(("service", service.name, service.version) for service in services),
        *(("on-demand view", view.name, view.version) for view in on_demand),
    }


def _of(kind: type[Kind], definitions: Sequence[object]) -> list[Kind]:
    return [definition for definition in definitions if isinstance(definition, kind)]
