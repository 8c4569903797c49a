"""Run a deployed pipeline: ``ray job submit -- python -m raymlops.jobs.train --pipeline NAME``."""

import sys

from raymlops.cli.train import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
