"""Run a deployed pipeline: ``ray job submit --working-dir . -- python jobs/train.py --pipeline NAME``."""

import sys

from raymlops.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
