"""What users are refused before anything is computed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from raymlops.config.platform import PlatformConfig
from raymlops.errors import ConfigError
from raymlops.platform.operations import Control


def test_a_price_that_is_none_is_refused_before_any_fit(tmp_path: Path) -> None:
    untouched = SimpleNamespace(windows=None, plans=None)
    platform = cast("Any", SimpleNamespace(config=PlatformConfig(home=tmp_path), metadata=untouched))
    with pytest.raises(ConfigError, match="price must not be negative, got -1"):
        Control(platform).laboratory("churn", price=-1.0)
