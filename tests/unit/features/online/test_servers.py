"""The server that the configuration names, and the class that opens it."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

import pytest

from raymlops.config import features
from raymlops.config.features import ONLINE_SERVERS, FeaturesConfig, OnlineServer
from raymlops.errors import ConfigError
from raymlops.features.online.online_store import OnlineStore
from raymlops.features.online.redis import RedisOnlineStore
from raymlops.features.online.servers import open_server
from tests.support.in_memory_store import InMemoryOnlineStore


@pytest.mark.parametrize("scheme", ONLINE_SERVERS)
def test_a_server_names_a_store_that_takes_what_it_is_given(scheme: str) -> None:
    module, _, name = ONLINE_SERVERS[scheme].store.partition(":")
    store = getattr(import_module(module), name)
    assert {each for each in vars(OnlineStore) if not each.startswith("_")} <= set(dir(store))
    inspect.signature(store).bind(f"{scheme}://here", writable=True, prefix="p", password=None)


def test_lmdb_is_on_no_server() -> None:
    assert open_server(FeaturesConfig(), writable=True) is None


def test_a_reader_of_redis_connects_when_it_reads() -> None:
    store = open_server(FeaturesConfig(online_store="redis://nowhere.invalid:1/0"), writable=False)
    assert isinstance(store, RedisOnlineStore)
    assert str(store) == "online store redis://nowhere.invalid:1/0"
    store.close()


class Elsewhere(InMemoryOnlineStore):
    def __init__(self, url: str, **options: Any) -> None:
        super().__init__()
        self.opened = (url, options)


def test_another_kind_of_server_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="must be lmdb or start with one of redis://, rediss://, unix://"):
        FeaturesConfig(online_store="elsewhere://host/0")
    kind = OnlineServer(f"{__name__}:Elsewhere", "RAYMLOPS_ELSEWHERE_PASSWORD")
    monkeypatch.setattr(features, "ONLINE_SERVERS", {**ONLINE_SERVERS, "elsewhere": kind})
    monkeypatch.setenv("RAYMLOPS_ELSEWHERE_PASSWORD", "s3cret")
    with pytest.raises(ValueError, match="must hold no password: set RAYMLOPS_ELSEWHERE_PASSWORD"):
        FeaturesConfig(online_store="elsewhere://me:s3cret@host/0")
    store = open_server(FeaturesConfig(online_store="elsewhere://host/0", online_prefix="p"), writable=True)
    assert isinstance(store, Elsewhere)
    assert store.opened == ("elsewhere://host/0", {"writable": True, "prefix": "p", "password": "s3cret"})


def test_a_url_that_the_store_refuses_is_an_error_of_the_configuration() -> None:
    with pytest.raises(ConfigError, match="must be redis://HOST:PORT/DB"):
        open_server(FeaturesConfig(online_store="redis://host:port"), writable=False)
