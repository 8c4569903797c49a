"""Programs that a build runs."""

from __future__ import annotations

import sys
from pathlib import Path

from raymlops.delivery.programs import run_program


def test_a_program_is_heard_on_both_ways(tmp_path: Path) -> None:
    code = "import os, sys; print(os.getcwd()); print(os.environ['SAID'], file=sys.stderr); sys.exit(3)"
    done = run_program([sys.executable, "-c", code], timeout_s=60, directory=tmp_path, environment={"SAID": "ähm"})
    assert done == (3, f"{tmp_path}\n", "ähm\n")


def test_a_program_whose_time_is_up_has_no_code() -> None:
    done = run_program([sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(60)"], timeout_s=1)
    assert done.code is None
