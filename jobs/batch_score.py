"""Score a table, from a clone.

``ray job submit --working-dir . -- python jobs/batch_score.py MODEL SOURCE OUTPUT [--version N]``
"""

import sys

from raymlops.jobs.batch_score import main

if __name__ == "__main__":
    sys.exit(main())
