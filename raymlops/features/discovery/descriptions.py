"""Descriptions of a feature store's definitions, with search, statistics, freshness and lineage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from raymlops.clock import Clock
from raymlops.errors import StorageError
from raymlops.features.catalog.applied import CatalogState, Definition
from raymlops.features.definitions.naming import parse_reference
from raymlops.features.definitions.views import FeatureView
from raymlops.features.discovery.freshness import view_freshness
from raymlops.features.discovery.lineage import definition_edges, find_node, trace, training_set_edges
from raymlops.features.discovery.search import search_definitions
from raymlops.features.discovery.statistics import profile_view
from raymlops.features.offline.training_set import TrainingSets
from raymlops.features.online.node_copy import DefinitionSource
from raymlops.features.online.online_store import Watermark
from raymlops.records.people.discovery import (
    FeatureDescription,
    FeatureFreshness,
    FeatureLineage,
    FeatureMatch,
    LineageEdge,
    LineageNode,
    ViewStatistics,
)
from raymlops.tables.delta import DeltaTables
from raymlops.tables.delta_log import read_batches
from raymlops.tables.files import Files, failure

__all__ = ["Discovery"]


class Discovery:
    """Describes the applied definitions: their data, their sources and their users. Thread-safe.

    Statistics are computed once per version of a table and kept beside the tables; whoever comes first does it.

    Args:
        files: What is computed is kept in ``statistics`` there.
        training_sets: Their manifests.
        catalog: The definitions.
        tables: The tables.
        clock: Now.
        watermark: How far the online store has a view, by ``NAME@VERSION``.
    """

    def __init__(
        self,
        files: Files,
        training_sets: TrainingSets,
        catalog: DefinitionSource,
        tables: DeltaTables,
        clock: Clock,
        watermark: Callable[[str], Watermark | None],
    ) -> None:
        self._files = files
        self._training_sets = training_sets
        self._catalog = catalog
        self._tables = tables
        self._clock = clock
        self._watermark = watermark

    def statistics(self, view: str, version: int | None = None) -> ViewStatistics:
        """Statistics of a view at a version of its table.

        Args:
            view: ``NAME`` or ``NAME@VERSION``.
            version: Version of the table; ``None``: the newest.

        Raises:
            FeatureViewNotFound: the view is not applied.
            NotFoundError: nothing was ingested, or there is no such version.
            StorageError: the table cannot be read, or the statistics not be stored.
        """
        state = self._catalog.state()
        found = state.view(view)
        table = state.table_of(found)
        version = self._tables.version(table) if version is None else version
        known = self._stored_statistics(found, table, version)
        if known is not None:
            return known
        batches = read_batches(self._tables, table, version, found.table_columns)
        computed = profile_view(found, batches, table=table, table_version=version)
        path = _statistics_file(found, table, version)
        try:
            self._files.write(path, computed.model_dump_json().encode())
        except OSError as error:
            where = self._files.uri(path)
            raise StorageError(f"statistics {where}: cannot write: {failure(error)}", path=where) from error
        return computed

    def freshness(self, view: str) -> FeatureFreshness:
        """How far a view reaches, offline and online.

        Raises:
            FeatureViewNotFound: the view is not applied.
            StorageError: its table cannot be read.
        """
        state = self._catalog.state()
        found = state.view(view)
        table = state.table_of(found)
        known = None
        if self._tables.exists(table):
            known = self._stored_statistics(found, table, self._tables.version(table))
        watermark, problem = None, ""
        if found.online:
            try:
                watermark = self._watermark(found.ref)
            except StorageError as error:
                problem = str(error)
        fresh = view_freshness(found, table, self._tables, now=self._clock.now(), watermark=watermark, statistics=known)
        return fresh.model_copy(update={"online_problem": problem})

    def lineage(self, name: str, consumers: Iterable[LineageEdge] = ()) -> FeatureLineage:
        """What a definition is made of, and what is made of it, training sets included.

        Args:
            name: ``NAME`` or ``NAME@VERSION`` of any definition.
            consumers: Edges that the store does not know: models and endpoints.

        Raises:
            NotFoundError: it is not applied.
            StorageError: a manifest cannot be read.
        """
        state = self._catalog.state()
        return self._lineage(state, find_node(state, name), consumers)

    def search(
        self, text: str = "", *, tags: Mapping[str, str] | None = None, owner: str | None = None
    ) -> list[FeatureMatch]:
        """Definitions with all the words of a text somewhere in them, and the tags, and the owner.

        Args:
            text: Words, each looked for in names, owners, descriptions, tags, keys and fields, in any case.
            tags: Tags that must be there, each with the value given; an empty value stands for any.
            owner: The owner, as a whole.

        Returns:
            Views, on-demand views, services, then entities; those whose name matches first, then by name and version.
        """
        return search_definitions(self._catalog.state(), text, tags=tags, owner=owner)

    def describe(self, name: str, consumers: Iterable[LineageEdge] = ()) -> FeatureDescription:
        """One definition: as it was declared, with statistics and freshness where it is a view, and its lineage.

        Args:
            name: ``NAME`` or ``NAME@VERSION``.
            consumers: As in ``lineage``.

        Raises:
            NotFoundError: it is not applied.
            StorageError: its table or a manifest cannot be read, or statistics not be stored.
        """
        state = self._catalog.state()
        node = find_node(state, name)
        definition = _definition(state, node)
        statistics = freshness = None
        if node.kind == "view":
            if self._tables.exists(state.table_of(state.view(node.name))):
                statistics = self.statistics(node.name)
            freshness = self.freshness(node.name)
        return FeatureDescription(
            kind=node.kind,
            name=node.name,
            definition=_plain(asdict(definition)),
            statistics=statistics,
            freshness=freshness,
            lineage=self._lineage(state, node, consumers),
        )

    def listing(self) -> list[dict[str, Any]]:
        """What is applied, entities first, then views, on-demand views and services, each by name and version.

        Raises:
            StorageError: a table cannot be read.
        """
        state = self._catalog.state()
        rows: list[dict[str, Any]] = [
            {"kind": "entity", "name": name, "version": None, "fields": list(entity.keys)}
            for name, entity in sorted(state.entities.items())
        ]
        rows += [self._listed(state.views[ref].view) for ref in sorted(state.views, key=parse_reference)]
        for ref in sorted(state.on_demand, key=parse_reference):
            computed = state.on_demand[ref].view
            fields = [column.name for column in computed.fields]
            rows.append(
                {"kind": "on-demand view", "name": computed.name, "version": computed.version, "fields": fields}
            )
        for ref in sorted(state.services, key=parse_reference):
            service = state.services[ref].service
            rows.append(
                {"kind": "service", "name": service.name, "version": service.version, "fields": list(service.features)}
            )
        return rows

    def _listed(self, view: FeatureView) -> dict[str, Any]:
        fresh = self.freshness(view.ref)
        return {
            "kind": "view",
            "name": view.name,
            "version": view.version,
            "entity": view.entity if isinstance(view.entity, str) else view.entity.name,
            "fields": list(view.feature_names),
            "owner": view.owner,
            "description": view.description,
            "tags": dict(view.tags),
            "ttl_s": fresh.ttl_s,
            "rows": fresh.rows,
            "newest_event_time": None if fresh.newest_event_time is None else fresh.newest_event_time.isoformat(),
        }

    def _lineage(self, state: CatalogState, node: LineageNode, consumers: Iterable[LineageEdge]) -> FeatureLineage:
        manifests = self._training_sets.manifests()
        return trace(node, [*definition_edges(state), *training_set_edges(manifests), *consumers])

    def _stored_statistics(self, view: FeatureView, table: str, version: int) -> ViewStatistics | None:
        path = _statistics_file(view, table, version)
        try:
            return ViewStatistics.model_validate_json(self._files.read(path))
        except FileNotFoundError:
            return None
        except ValidationError:
            return None  # of another release: computed anew
        except OSError as error:
            where = self._files.uri(path)
            raise StorageError(f"statistics {where}: cannot read: {failure(error)}", path=where) from error


def _statistics_file(view: FeatureView, table: str, version: int) -> str:
    return f"statistics/{table}/{view.ref}-{version}.json"


def _definition(state: CatalogState, node: LineageNode) -> Definition:
    match node.kind:
        case "view":
            return state.views[node.name].view
        case "on-demand view":
            return state.on_demand[node.name].view
        case "service":
            return state.services[node.name].service
        case _:
            return state.entities[node.name]


def _plain(value: Any) -> Any:
    """A declared value as JSON has it; spans are given in seconds."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
