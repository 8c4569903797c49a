"""Bring the online store up to the newest tables, from a clone.

``ray job submit --working-dir . -- python jobs/materialize.py [--view NAME]``
"""

import sys

from raymlops.jobs.materialize import main

if __name__ == "__main__":
    sys.exit(main())
