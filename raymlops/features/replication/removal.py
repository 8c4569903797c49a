"""The end of an environment's features: definitions, tables, training sets and online features."""

from __future__ import annotations

from raymlops.config.features import FeaturePlace
from raymlops.errors import ConfigError, StorageError
from raymlops.features.catalog.layout import CATALOG
from raymlops.features.offline.feature_files import FeatureFiles
from raymlops.features.online.servers import open_server
from raymlops.tables.files import failure, open_files, parse_root

__all__ = ["remove_features", "tables_in"]


def tables_in(place: FeaturePlace) -> tuple[str, ...] | None:
    """Tables of an environment that have rows; ``None``: nothing was ever applied there.

    Raises:
        StorageError: They cannot be read.
    """
    files = FeatureFiles.at(place)
    state = files.state()
    if not (state.entities or state.views or place.local.exists()):
        return None
    return tuple(table for table in sorted(state.tables()) if files.tables.exists(table))


def remove_features(place: FeaturePlace) -> None:
    """Remove all features of an environment that nobody writes or serves any more; may be called again.

    The definitions go first: an environment without definitions is refused, so that nobody opens what is half removed.

    Raises:
        ConfigError: It is the platform's own environment.
        StorageError: Something could not be removed; to be called again.
    """
    if place.environment is None:
        raise ConfigError("the features of the platform's own environment cannot be removed")
    files = open_files(parse_root(place.root), place.settings.storage_options)
    try:
        files.remove(CATALOG)
        online = open_server(place.settings, writable=True)
        if online is not None:
            online.remove()
        files.remove_all()
        open_files(place.local).remove_all()
    except OSError as error:
        where = f"features of environment {place.environment!r}"
        raise StorageError(f"{where} cannot be removed: {failure(error)}", environment=place.environment) from error
