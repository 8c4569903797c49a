"""What a feature store has on disk or in an object store, for whoever looks at it beside its writer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from raymlops.config.features import FeaturePlace
from raymlops.features.catalog.applied import CatalogState
from raymlops.features.catalog.catalog_file import Catalog
from raymlops.features.catalog.layout import catalog_path, tables_path
from raymlops.features.offline.training_set import TrainingSets
from raymlops.tables.delta import DeltaTables
from raymlops.tables.files import Root, parse_root

__all__ = ["FeatureFiles"]


@dataclass(frozen=True)
class FeatureFiles:
    """Definitions, tables and training sets of one environment; opening them reads nothing.

    Attributes:
        root: Directory or URI, parsed.
        storage_options: Options of the object store.
    """

    root: Root
    storage_options: Mapping[str, str]

    @classmethod
    def at(cls, place: FeaturePlace) -> Self:
        """Those of an environment."""
        return cls(parse_root(place.root), place.settings.storage_options)

    def state(self) -> CatalogState:
        """What is applied now.

        Raises:
            StorageError: It cannot be read.
        """
        return Catalog(catalog_path(self.root), self.storage_options).state()

    @cached_property
    def tables(self) -> DeltaTables:
        """The tables."""
        return DeltaTables(tables_path(self.root), self.storage_options)

    @cached_property
    def training_sets(self) -> TrainingSets:
        """Manifests and spines."""
        return TrainingSets(self.root, self.storage_options)
