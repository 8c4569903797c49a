from __future__ import annotations

from typing import Any

import pytest

from raymlops.errors import ConfigError
from raymlops.pipelines import Step


def _function(context: object, **_: Any) -> dict[str, Any]:
    return {}


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"name": ""}, "without dots"),
        ({"name": "a.b"}, "without dots"),
        ({"outputs": {}}, "at least one output"),
        ({"attempts": 0}, "at least 1, got 0"),
        ({"inputs": {"seed": "x.y"}, "parameters": ("seed",)}, r"same names: \['seed'\]"),
    ],
)
def test_a_step_that_cannot_run_is_refused(fields: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        Step(**{"name": "a", "function": _function, "outputs": {"x": "json"}, **fields})
