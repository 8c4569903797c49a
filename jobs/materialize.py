"""Bring the online store up to the newest tables.

``ray job submit --working-dir . -- python jobs/materialize.py [--view NAME]``
"""

import argparse
import sys

from raymlops.errors import RaymlopsError
from raymlops.platform import connect


def main() -> int:
    """Materialise one view or all of them; 1 where that could not be done."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--view", help="only this view")
    view = parser.parse_args().view
    try:
        platform = connect(start=False)
        for receipt in platform.features.materialize(view):
            print(f"{receipt.view}: {receipt.rows} rows, up to version {receipt.table_version}")
        platform.detach()
    except RaymlopsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
