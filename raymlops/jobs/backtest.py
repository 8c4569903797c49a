"""Tell when the policy in force would have retrained: ``ray job submit -- python -m raymlops.jobs.backtest MODEL``."""

import argparse
import sys
from collections.abc import Sequence

from raymlops.jobs.on_platform import on_platform
from raymlops.platform import Platform

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay the policy over the stored windows of a model; 1 where that could not be done."""
    parser = argparse.ArgumentParser(prog="backtest")
    parser.add_argument("model")
    model = parser.parse_args(arguments).model

    def work(platform: Platform) -> None:
        for decision in platform.control.backtest(model):
            print(f"{decision.at:%Y-%m-%d %H:%M} {decision.outcome}: {decision.reason}")

    return on_platform(work)


if __name__ == "__main__":
    sys.exit(main())
