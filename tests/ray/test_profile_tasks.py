"""References and profiles of tables by tasks on the cluster: what they come to in memory, and errors as they are."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from raymlops.clock import SystemClock
from raymlops.config.batch import BatchConfig
from raymlops.errors import DataError
from raymlops.monitoring.profiles.reference import Reference
from raymlops.runtime.jobs.batch import BatchOperator

if TYPE_CHECKING:
    from raymlops.platform import Platform

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROWS, DAY = 20_000, timedelta(days=1)


def test_a_table_is_profiled_by_tasks_as_it_is_in_memory(platform: Platform, tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    at_us = np.sort(chance.integers(0, 30 * 86_400_000_000, ROWS))
    whole = pa.table(
        {
            "x": chance.normal(size=ROWS),
            "city": chance.choice([*"abc"], ROWS),
            "at": pa.array(at_us, pa.timestamp("us", tz="UTC")),
        }
    )
    path = tmp_path / "rows.parquet"
    parquet.write_table(whole, path, row_group_size=1000)
    cut = platform.config.model_copy(update={"batch": BatchConfig(part_rows=2000, block_rows=500)})
    batch = BatchOperator(cut, platform.metadata, SystemClock())
    reference = batch.fit_reference(path, event_time="at", window=DAY)
    assert reference.dumps() == Reference.fit(whole, event_time="at", window=DAY).dumps()
    assert batch.profile(path, reference) == reference.profile(whole)
    profile = batch.profile(path, reference, sketched=True)
    assert profile.quantiles["x"].ranks([0.0]) == pytest.approx([0.5], abs=0.02)

    holes = whole.set_column(2, "at", pa.nulls(ROWS, pa.timestamp("us", tz="UTC")))
    parquet.write_table(holes, path, row_group_size=1000)
    with pytest.raises(DataError, match="column 'at' must not be null, got "):
        batch.fit_reference(path, event_time="at", window=DAY)
