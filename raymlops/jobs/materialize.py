"""Bring the online store up to date: ``ray job submit -- python -m raymlops.jobs.materialize [--view NAME]``."""

import argparse
import sys
from collections.abc import Sequence

from raymlops.jobs.on_platform import on_platform
from raymlops.platform import Platform

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Materialise one view or all of them; 1 where that could not be done."""
    parser = argparse.ArgumentParser(prog="materialize")
    parser.add_argument("--view", help="only this view")
    parser.add_argument("--environment", help="whose features; left out, those of the platform's own environment")
    given = parser.parse_args(arguments)
    view, environment = given.view, given.environment

    def work(platform: Platform) -> None:
        here = platform if environment is None else platform.in_environment(environment)
        for receipt in here.features.materialize(view):
            print(f"{receipt.view}: {receipt.rows} rows, up to version {receipt.table_version}")

    return on_platform(work)


if __name__ == "__main__":
    sys.exit(main())
