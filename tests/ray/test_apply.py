"""Definitions applied to a running platform."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest

from raymlops.errors import AlreadyRegistered, ConfigError, NotFoundError
from raymlops.features import Entity, FeatureService, FeatureView, Field, OnDemandView
from raymlops.platform import Platform
from raymlops.tables.columns import INSTANT

EXAMPLES = "tests.support.on_demand_examples"
SPENDING = FeatureView("purchases", Entity("buyer", ["buyer_id"]), [Field("amount", "float64")])


def share(function: str, version: int = 1) -> OnDemandView:
    return OnDemandView("share", ["purchases:amount", "limit"], [Field("share", "float64")], function, version=version)


def test_on_demand_functions_are_tried_by_the_store_and_used_on_both_sides(platform: Platform) -> None:
    platform.apply(SPENDING)
    with pytest.raises(ConfigError, match="'share@1': cannot import 'only_here': no such module on the path") as caught:
        platform.apply(share("only_here:function"))
    assert len(caught.value.context["faults"]) == 1  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="must give a row the same 'share__share' however it is called"):
        platform.apply(share(f"{EXAMPLES}:above_average"))
    service = FeatureService("spender", ["share:share"])
    assert platform.apply(share(f"{EXAMPLES}:share_of_limit"), service).added == (
        "on-demand view share@1",
        "service spender@1",
    )
    with pytest.raises(
        AlreadyRegistered, match=r"function .*:share_of_limit -> .*:above_average, code .* \(2 is free\)"
    ):
        platform.apply(share(f"{EXAMPLES}:above_average"))
    at = datetime(2024, 3, 1, tzinfo=UTC)
    columns: dict[str, Any] = {"buyer_id": ["ada"], "event_time": pa.array([at], INSTANT)}
    platform.features.push("purchases", pa.table({**columns, "amount": [30.0]}))
    asked = pa.table({**columns, "limit": [120.0]})
    online = platform.features.online("spender", asked, at)
    assert online["share__share"].to_pylist() == [0.25]
    training = platform.features.training_set("spender", asked, name="spender")
    assert training.table()["share__share"].to_pylist() == [0.25]
    assert training.manifest.views.keys() == {"purchases@1", "share@1"}


def test_an_environment_in_which_nothing_was_applied_is_refused_and_not_made(platform: Platform) -> None:
    rows = pa.table({"buyer_id": ["ada"], "event_time": pa.array([datetime(2024, 3, 1, tzinfo=UTC)], INSTANT)})
    mistyped = platform.in_environment("stagign")
    with pytest.raises(NotFoundError, match="environment 'stagign' has no feature views: apply some there first"):
        mistyped.features.push("purchases", rows)
    assert not platform.config.feature_place("stagign").local.exists()
    mistyped.apply(SPENDING)
    assert platform.config.feature_place("stagign").local.exists()


def test_the_command_line_shows_what_would_change_and_then_changes_it(
    command: Callable[..., Any], tmp_path: Path
) -> None:
    apply = partial(command, "apply")
    path = tmp_path / "definitions.py"
    text = (
        "from raymlops.features import Entity, FeatureView, Field\n"
        "depot = Entity('depot', ['depot_id'])\n"
        "stock = FeatureView('stock', depot, [Field('pieces', 'int64')], owner='a')\n"
    )
    path.write_text(text)
    lines = ["+ entity depot", "+ view stock@1"]
    for _ in range(2):
        foretold = apply(str(path), "--dry-run")
        assert (foretold.returncode, foretold.stdout.splitlines()) == (0, lines), foretold.stderr
    applied = apply(str(path))
    assert (applied.returncode, applied.stdout.splitlines()) == (0, lines), applied.stderr
    path.write_text(text.replace("owner='a'", "owner='b'"))
    assert apply(str(path)).stdout.splitlines() == ["~ view stock@1 owner: a -> b", "= entity depot"]
    path.write_text(text.replace("int64", "float64"))
    refused = apply(str(path), "--dry-run", "--json")
    assert refused.returncode == 1
    report = orjson.loads(refused.stdout)
    assert (report["added"], report["dry_run"], report["refused"][0]["free_version"]) == ([], True, 2)
    told = "view 'stock@1': fields.pieces.dtype int64 -> float64: give the changed one a new version (2 is free)"
    assert report["faults"] == [told]
    plain = apply(str(path))
    assert (plain.returncode, plain.stderr) == (1, f"error: {told}\n")
