from __future__ import annotations

import subprocess
import sys

LEAK = """
from raymlops.runtime.cluster.memory_limit import limit_growth

limit_growth(64 << 20)
kept = [bytearray(8 << 20)]
try:
    while len(kept) < 100:
        kept.append(bytearray(8 << 20))
except MemoryError:
    print(len(kept))
del kept
bytearray(8 << 20)
"""


def test_a_process_that_leaks_is_refused_more() -> None:
    done = subprocess.run([sys.executable, "-c", LEAK], capture_output=True, text=True, timeout=60, check=True)
    assert 4 <= int(done.stdout) <= 8
