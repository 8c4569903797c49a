"""Run a deployed pipeline, from a clone.

``ray job submit --working-dir . -- python jobs/train.py --pipeline NAME``
"""

import sys

from raymlops.jobs.train import main

if __name__ == "__main__":
    sys.exit(main())
