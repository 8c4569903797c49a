"""Where online features may be configured to be."""

from __future__ import annotations

from typing import Any

import pytest

from raymlops.config.features import FeaturesConfig
from raymlops.config.reading.loader import load_config
from raymlops.errors import ConfigError


@pytest.mark.parametrize(
    "store", ["lmdb", "redis://cache:6379/1", "rediss://fs@cache/0?ssl_ca_certs=/ca.pem", "unix:///run/s?db=1"]
)
def test_stores_that_may_be_named(store: str) -> None:
    assert FeaturesConfig(online_store=store).online_store == store


@pytest.mark.parametrize(
    ("store", "rule"),
    [
        ("", "must be lmdb or start with one of redis://"),
        ("memcached://cache", "must be lmdb or start with one of redis://"),
        ("redis://fs:s3cret@cache/0", "must hold no password: set RAYMLOPS_REDIS_PASSWORD"),
        ("redis://:s3cret@cache/0", "must hold no password: set RAYMLOPS_REDIS_PASSWORD"),
        ("redis://cache/0?password=s3cret", "must hold no password: set RAYMLOPS_REDIS_PASSWORD"),
    ],
)
def test_stores_that_may_not(store: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule) as direct:
        FeaturesConfig(online_store=store)
    assert "s3cret" not in str(direct.value)
    variables: dict[str, Any] = {"RAYMLOPS_FEATURES__ONLINE_STORE": f'"{store}"'}
    with pytest.raises(ConfigError, match=rule):
        load_config(environ=variables)


def test_the_password_is_no_setting() -> None:
    load_config(environ={"RAYMLOPS_REDIS_PASSWORD": "s3cret"})
