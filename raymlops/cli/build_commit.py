"""``python -m raymlops.cli.build_commit SEQUENCE``: what the job that builds a commit runs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from raymlops import runtime
from raymlops.platform import connect

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Build and deploy the commit that an entry of the ledger names.

    Returns:
        The exit code: 0 where it is deployed.
    """
    (sequence,) = map(int, arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(name)s %(message)s")
    platform = connect(start=False)
    try:
        done = runtime.build_and_deploy(platform.config, platform.metadata, platform.delivery, sequence)
    finally:
        platform.detach()
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
