"""Tell when the configured policy would have retrained.

``ray job submit --working-dir . -- python jobs/backtest.py MODEL``
"""

import argparse
import sys

from raymlops.errors import RaymlopsError
from raymlops.platform import connect


def main() -> int:
    """Replay the policy over the stored windows of a model; 1 where that could not be done."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    model = parser.parse_args().model
    try:
        platform = connect(start=False)
        for decision in platform.control.backtest(model):
            print(f"{decision.at:%Y-%m-%d %H:%M} {decision.outcome}: {decision.reason}")
        platform.detach()
    except RaymlopsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
