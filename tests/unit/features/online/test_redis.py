"""What needs no server; ``tests/contract`` has the rest."""

from __future__ import annotations

import sys

import pytest

from raymlops.errors import ConfigError
from raymlops.features.online.redis import RedisOnlineStore, server_address


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://cache", "redis://cache:6379"),
        ("redis://:s3cret@cache:7000/3", "redis://cache:7000/3"),
        ("rediss://fs:s3cret@cache/0?ssl_ca_certs=/ca.pem", "rediss://cache:6379/0"),
        ("redis:///2", "redis://localhost:6379/2"),
        ("unix://fs:s3cret@/run/redis/s?db=2", "unix:///run/redis/s"),
    ],
)
def test_addresses_show_no_secrets(url: str, shown: str) -> None:
    assert server_address(url) == shown


@pytest.mark.parametrize(
    "url", ["", "cache:6379", "http://:s3cret@cache", "redis://cache:s3cret", "redis://[s3cret", "//"]
)
def test_an_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="the server's URL must be redis://") as caught:
        RedisOnlineStore(url)
    assert "s3cret" not in str(caught.value)


def test_a_reader_connects_when_it_reads() -> None:
    pytest.importorskip("redis", reason="needs the redis package: pip install 'raymlops[redis]'")
    store = RedisOnlineStore("redis://nobody.invalid:1/0")
    assert repr(store) == "online store redis://nobody.invalid:1/0"
    store.close()
    store.close()


def test_the_package_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigError, match=r"the redis package is missing: pip install 'raymlops\[redis\]'"):
        RedisOnlineStore("redis://cache")
