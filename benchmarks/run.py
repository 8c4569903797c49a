"""``python -m benchmarks.run``: every figure of docs/benchmarks.md, as JSON."""

from __future__ import annotations

import json
import sys

from benchmarks import loop, metadata, serving_overhead

FIGURES = {
    "loop": loop.measure,
    "serving_overhead": serving_overhead.measure,
    "metadata_writes": metadata.measure_writes,
    "metadata_queries": metadata.measure_queries,
}


def main(names: list[str]) -> None:
    """Measure the named figures, or all."""
    for name in names or list(FIGURES):
        print(json.dumps({name: FIGURES[name]()}, indent=2), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
