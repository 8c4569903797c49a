from __future__ import annotations

import os
import subprocess
import sys

IMPORT = "from raymlops.runtime.cluster.niceness import give_way"
CODE = f"import os; {IMPORT}; give_way(); give_way(); print(os.getpriority(0, 0))"


def test_a_process_that_trains_gives_way_once() -> None:
    found = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=True)
    assert int(found.stdout) == max(15, os.getpriority(os.PRIO_PROCESS, 0))
