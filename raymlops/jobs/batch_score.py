"""Score a table: ``ray job submit -- python -m raymlops.jobs.batch_score MODEL SOURCE OUTPUT [--version N]``.

What is cut off goes on with the same arguments.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime

from raymlops.jobs.on_platform import on_platform
from raymlops.platform import Platform

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Predict every row; 1 where nothing was written."""
    parser = argparse.ArgumentParser(prog="batch_score")
    parser.add_argument("model")
    parser.add_argument("source", help="Parquet or CSV file, directory of such, Delta table[@vN], or view:NAME[@vN]")
    parser.add_argument("output", help="Delta table to write")
    parser.add_argument("--version", type=int, help="of the model; left out, the champion")
    parser.add_argument("--features", help="feature service; left out, the version's own")
    parser.add_argument("--at", type=datetime.fromisoformat, help="instant of all rows; left out, event_time")
    parser.add_argument("--column", dest="columns", action="append", help="to carry over; left out, all")
    parser.add_argument("--mode", choices=["create", "append", "overwrite"], default="create")
    asked = vars(parser.parse_args(arguments))

    def work(platform: Platform) -> None:
        receipt = platform.batch.score(**asked)
        print(f"{receipt.rows} rows in version {receipt.output_version} of {receipt.plan.output}: {receipt.verdict}")
        for reason in receipt.reasons:
            print(reason)

    return on_platform(work)


if __name__ == "__main__":
    sys.exit(main())
