"""Which features a process reads: the writer's own files, its node's copy of them, or a server's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from raymlops.config.platform import PlatformConfig
from raymlops.errors import NotFoundError, StorageError
from raymlops.features import FeatureReader, TrainingSet
from raymlops.features.catalog.applied import CatalogState, ResolvedService, ResolvedView
from raymlops.features.catalog.layout import online_path
from raymlops.features.online.lmdb import LmdbOnlineStore, file_identity
from raymlops.features.online.online_store import OnlineStore
from raymlops.features.online.plan import OnlinePlan
from raymlops.features.online.servers import open_server
from raymlops.features.replication.environments import PerEnvironment
from raymlops.features.replication.ports import Leader
from raymlops.runtime.cluster.platform_clock import build_clock
from raymlops.runtime.cluster.this_node import this_node
from raymlops.runtime.nodes.feature_writer import feature_writer
from raymlops.runtime.nodes.node_copies import copy_of, copy_path

__all__ = ["FeatureReaders", "ReaderElsewhere", "open_reader"]


class _Copy:
    """A node's copy, as its readers see it: definitions from the writer, runs from the node."""

    def __init__(self, config: PlatformConfig, environment: str | None, node: str, leader: Leader) -> None:
        self._config = config
        self._environment = environment
        self._node = node
        self._leader = leader
        self._known: tuple[str, CatalogState] | None = None

    def state(self) -> CatalogState:
        digest = self._leader.progress().definitions
        known = self._known
        if known is None or known[0] != digest:
            known = self._known = (digest, self._leader.definitions())
        return known[1]

    def key_types(self, view: ResolvedView) -> tuple[type, ...] | None:
        return self._leader.key_types(view)

    def await_views(self, service: ResolvedService) -> None:
        if self._config.features.online_server is not None:
            return
        marks = self._leader.progress().watermarks
        goals = {each.view.ref: marks[each.view.ref] for each in service.views if each.view.ref in marks}
        # the copy says by itself what it lacks, and has as much time again to come up and say so
        copy = copy_of(self._config, self._node, self._environment)
        copy.reach(goals, self._config.features.copy_timeout.total_seconds())

    def open(self) -> OnlineStore:
        settings = self._config.feature_place(self._environment).settings
        path = copy_path(self._config, self._node, self._environment)
        return open_server(settings, writable=False) or LmdbOnlineStore(path)


class ReaderElsewhere(FeatureReader):
    """A reader on another node than the writer's; its offline reads need the tables to be shared."""

    def __init__(
        self, config: PlatformConfig, environment: str | None, node: str, leader: Leader, **options: Any
    ) -> None:
        root = config.feature_place(environment).root
        super().__init__(root, copy=_Copy(config, environment, node, leader), **options)
        self._leader = leader
        self._node = node

    def table(self, *args: Any, **kwargs: Any) -> Any:
        with self._tables_shared():
            return super().table(*args, **kwargs)

    def table_versions(self) -> dict[str, int]:
        found = super().table_versions()
        for table in sorted(self._catalog.state().tables() - found.keys()):
            self._require_shared(table)
        return found

    def training_set(self, *args: Any, **kwargs: Any) -> TrainingSet:
        with self._tables_shared():
            return super().training_set(*args, **kwargs)

    def features_at(self, *args: Any, **kwargs: Any) -> Any:
        with self._tables_shared():
            return super().features_at(*args, **kwargs)

    @contextmanager
    def _tables_shared(self) -> Iterator[None]:
        try:
            yield
        except NotFoundError as error:
            table = error.context.get("table")
            if isinstance(table, str):
                self._require_shared(table)
            raise

    def _require_shared(self, table: str) -> None:
        if not self._tables.exists(table) and self._leader.has_table(table):
            rule = "reads of the past need the feature store's directory on all nodes, shared or in an object store"
            where = f"table {table!r} is not in {self._root} on node {self._node}"
            raise StorageError(f"{where}: {rule}", table=table, node=self._node)


def open_reader(config: PlatformConfig, environment: str | None = None, **options: Any) -> FeatureReader:
    """The features as this process can read them best: the writer's own files on its node, the node's copy elsewhere.

    Args:
        config: The platform's.
        environment: Whose features; ``None``: those of the platform's own.
        options: As ``FeatureReader`` takes them.

    Raises:
        ConfigError: an environment cannot be called so.
        UnavailableError: the writer does not answer.
    """
    place = config.feature_place(environment)
    stored = {"local": place.local, "storage_options": place.settings.storage_options}
    options = {"clock": build_clock(config), **stored, **options}
    here = this_node()
    if feature_writer(config).node_id() != here:
        leader = cast("Leader", feature_writer(config, environment))
        return ReaderElsewhere(config, environment, here, leader, **options)
    return FeatureReader(place.root, online=open_server(place.settings, writable=False), **options)


class FeatureReaders(PerEnvironment[FeatureReader]):
    """The features of each environment, as this process can read them best.

    Args:
        config: The platform's.
        options: As ``FeatureReader`` takes them.
    """

    def __init__(self, config: PlatformConfig, **options: Any) -> None:
        super().__init__(lambda environment: open_reader(config, environment, **options))
        self._config = config
        self._online: dict[str, frozenset[tuple[int, int]]] = {}

    def of(self, environment: str | None = None) -> FeatureReader:
        """The reader of an environment; another one where the environment was removed and made anew meanwhile."""
        if environment is not None:
            now, known = self._online_files(environment), self._online.get(environment)
            if known and not known <= now:
                self.drop(environment)
            self._online[environment] = now
        return super().of(environment)

    def _online_files(self, environment: str) -> frozenset[tuple[int, int]]:
        """The online files that an environment has on this node: the writer's, and the node's copy."""
        paths = (
            online_path(self._config.feature_place(environment).local),
            copy_path(self._config, this_node(), environment),
        )
        return frozenset(found for found in map(file_identity, paths) if found is not None)

    def plan(self, service: str, environment: str | None = None) -> OnlinePlan:
        """Compile a feature service for reading; as ``FeatureReader.plan``."""
        return self.of(environment).plan(service)
