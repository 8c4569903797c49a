"""Opens the online store on the server that the configuration names."""

from __future__ import annotations

import os
from importlib import import_module

from raymlops.config.features import FeaturesConfig
from raymlops.features.online.online_store import OnlineStore

__all__ = ["open_server"]


def open_server(config: FeaturesConfig, *, writable: bool) -> OnlineStore | None:
    """The store on the configured server; ``None`` where online features are in LMDB files.

    Raises:
        ConfigError: The URL or the server's settings do not fit, or the server's client is not installed.
        StorageError: The server cannot be reached (a writer only).
    """
    server = config.online_server
    if server is None:
        return None
    module, _, name = server.store.partition(":")
    password = os.environ.get(server.password)
    store: OnlineStore = getattr(import_module(module), name)(
        config.online_store, writable=writable, prefix=config.online_prefix, password=password
    )
    return store
