"""Tell when the configured policy would have retrained, from a clone.

``ray job submit --working-dir . -- python jobs/backtest.py MODEL``
"""

import sys

from raymlops.jobs.backtest import main

if __name__ == "__main__":
    sys.exit(main())
