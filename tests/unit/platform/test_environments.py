"""A platform with the features of another environment: one connection, other doors to features."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from raymlops.config.platform import PlatformConfig
from raymlops.errors import ConfigError
from raymlops.platform import Platform


@pytest.fixture
def platform() -> Platform:
    session = SimpleNamespace(config=PlatformConfig(environment="prod"), url="", lacking=(), exposed=())
    return Platform(cast("Any", session), cast("Any", None), cast("Any", None))


def test_an_environment_is_named_and_the_own_one_is_none(platform: Platform) -> None:
    assert platform.environment is None
    staging = platform.in_environment("staging")
    assert (staging.environment, staging.config) == ("staging", platform.config)
    assert staging.in_environment("dev").environment == "dev"
    assert staging.in_environment("prod").environment is None


def test_what_is_no_name_is_refused(platform: Platform) -> None:
    with pytest.raises(ConfigError, match="environment name must"):
        platform.in_environment("../prod")
