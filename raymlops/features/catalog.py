"""The definitions that are applied, in one file that is replaced as a whole."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from raymlops.errors import AlreadyRegistered, ConfigError, StorageError
from raymlops.features.applied import AppliedOnDemand, AppliedService, AppliedView, CatalogState, newest
from raymlops.features.definitions import Entity, FeatureView
from raymlops.features.naming import parse_feature
from raymlops.features.services import Definition, FeatureService, OnDemandView
from raymlops.records.features import ApplyReport

__all__ = ["Catalog"]

_NOTHING = CatalogState(entities={}, views={}, services={}, on_demand={})


class Catalog:
    """The definitions of one feature store. One process applies, any process reads; thread-safe.

    Args:
        path: The file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._state = _NOTHING

    def state(self) -> CatalogState:
        """What is applied now; the same value as long as the file is.

        Raises:
            StorageError: the file cannot be read.
        """
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_ino, found.st_size)
            with self._lock:
                if seen != self._seen:
                    self._state = CatalogState.model_validate_json(self._path.read_bytes())
                    self._seen = seen
                return self._state
        except FileNotFoundError:
            return _NOTHING
        except (OSError, ValidationError) as error:
            raise StorageError(f"catalog {self._path}: cannot read: {error}", path=str(self._path)) from error

    def apply(self, definitions: Sequence[Definition]) -> ApplyReport:
        """Add definitions, all or none. What is there already, and equal, is left as it is.

        Raises:
            AlreadyRegistered: a definition differs from the one of its name and version.
            ConfigError: a definition refers to what does not fit it; the message has all such faults.
            FeatureViewNotFound: a definition refers to what is not applied.
            StorageError: nothing was written.
        """
        state = self.state()
        draft = _Draft(state)
        for kind in (Entity, FeatureView, OnDemandView, FeatureService):
            # A view that others read from must be there before them.
            of_kind = [definition for definition in definitions if isinstance(definition, kind)]
            for definition in sorted(of_kind, key=lambda d: isinstance(d, FeatureView) and d.source is not None):
                draft.add(definition)
        if draft.faults:
            raise ConfigError("; ".join(draft.faults), faults=draft.faults)
        after = CatalogState(
            entities=draft.entities, views=draft.views, services=draft.services, on_demand=draft.on_demand
        )
        if after != state:
            self._write(after)
        return ApplyReport(added=tuple(draft.added), unchanged=tuple(draft.unchanged))

    def _write(self, state: CatalogState) -> None:
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(state.model_dump_json(indent=1).encode())
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        except OSError as error:
            raise StorageError(f"catalog {self._path}: cannot write: {error}", path=str(self._path)) from error


class _Draft:
    """A catalog in the making."""

    def __init__(self, state: CatalogState) -> None:
        self.entities = dict(state.entities)
        self.views = dict(state.views)
        self.services = dict(state.services)
        self.on_demand = dict(state.on_demand)
        self.added: list[str] = []
        self.unchanged: list[str] = []
        self.faults: list[str] = []

    def add(self, definition: Definition) -> None:
        match definition:
            case Entity():
                if self._is_new("entity", definition.name, self.entities.get(definition.name), definition):
                    self.entities[definition.name] = definition
            case FeatureView():
                self._add_view(definition)
            case OnDemandView():
                self._add_on_demand(definition)
            case FeatureService():
                applied = self.services.get(definition.ref)
                if self._is_new("service", definition.ref, None if applied is None else applied.service, definition):
                    pins = self._pins(definition.ref, definition.features, computed=True)
                    self.services[definition.ref] = AppliedService(service=definition, pins=pins)

    def _add_on_demand(self, view: OnDemandView) -> None:
        present = self.on_demand.get(view.ref)
        if self._is_new("on-demand view", view.ref, None if present is None else present.view, view):
            if any(applied.view.name == view.name for applied in self.views.values()):
                self.faults.append(f"on-demand view {view.ref!r}: the name is a view's")
            pins = self._pins(view.ref, view.feature_inputs, computed=False)
            self.on_demand[view.ref] = AppliedOnDemand(view=view, pins=pins)

    def _is_new(self, kind: str, name: str, present: Definition | None, given: Definition) -> bool:
        if present is not None and present.digest != given.digest:
            rule = "is applied with a different definition: give the changed one a new version"
            raise AlreadyRegistered(f"{kind} {name!r} {rule}", name=name, kind=kind)
        (self.added if present is None else self.unchanged).append(f"{kind} {name}")
        return present is None

    def _add_view(self, view: FeatureView) -> None:
        if isinstance(view.entity, Entity):
            if self.entities.get(view.entity.name) != view.entity:
                self.add(view.entity)
        elif view.entity not in self.entities:
            self.faults.append(f"view {view.ref!r}: entity {view.entity!r} is not applied")
            return
        view = view.resolved(self.entities)
        present = self.views.get(view.ref)
        if not self._is_new("view", view.ref, None if present is None else present.view, view):
            assert present is not None
            self.views[view.ref] = present.model_copy(update={"view": view})  # owner, description and tags may differ
            return
        owner = view.ref
        if view.source is not None:
            owner = newest(self.views, view.source, "source")
            self._check_source(view, self.views[owner].view)
        elif view.name in self._on_demand_names:
            self.faults.append(f"view {view.ref!r}: the name is an on-demand view's")
        self.views[view.ref] = AppliedView(view=view, owner=owner)

    @property
    def _on_demand_names(self) -> set[str]:
        return {applied.view.name for applied in self.on_demand.values()}

    def _check_source(self, view: FeatureView, source: FeatureView) -> None:
        if source.source is not None:
            self.faults.append(f"view {view.ref!r}: source must have its own table, got {source.ref!r}")
        declared: dict[str, str] = {name: "timestamp" for name in source.table_columns}
        declared |= {key: "key" for key in source.keys} | {column.name: column.dtype for column in source.fields}
        wanted = {column.name: column.dtype for column in view.fields}
        for name in view.table_columns:
            have = declared.get(name)
            if have is None:
                self.faults.append(f"view {view.ref!r}: source {source.ref!r} has no column {name!r}")
            elif name in wanted and have not in {wanted[name], "key"}:
                self.faults.append(
                    f"view {view.ref!r}: field {name!r} must be {have} as in its source, got {wanted[name]}"
                )
            elif name in view.keys and have not in {"key", "int64", "string"}:
                self.faults.append(f"view {view.ref!r}: key {name!r} must be int64 or string, got {have}")

    def _pins(self, owner: str, features: Sequence[str], *, computed: bool) -> dict[str, str]:
        pins: dict[str, str] = {}
        for feature in features:
            name, version, field = parse_feature(feature)
            reference = name if version is None else f"{name}@{version}"
            if computed and name in self._on_demand_names:
                ref = newest(self.on_demand, reference, "on-demand view")
                fields: Sequence[str] = [column.name for column in self.on_demand[ref].view.fields]
                inputs = self.on_demand[ref].pins
            else:
                ref = newest(self.views, reference, "view")
                fields, inputs = self.views[ref].view.feature_names, {}
            if field not in fields:
                self.faults.append(f"{owner!r}: view {ref!r} has no feature {field!r}, got {list(fields)}")
            for used, pin in {name: ref, **inputs}.items():
                if pins.setdefault(used, pin) != pin:
                    self.faults.append(f"{owner!r}: one version of a view at a time, got {pins[used]!r} and {pin!r}")
        return pins
