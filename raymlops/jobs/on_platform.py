"""What every job does around its one call."""

from __future__ import annotations

import sys
from collections.abc import Callable

from raymlops.errors import RaymlopsError
from raymlops.platform import Platform, connect

__all__ = ["on_platform"]


def on_platform(work: Callable[[Platform], None]) -> int:
    """Attach to the platform of the cluster that the job runs on, do the work and detach.

    Returns:
        The exit code: 1 where the platform said why it cannot be done.
    """
    try:
        platform = connect(start=False)
        try:
            work(platform)
        finally:
            platform.detach()
    except RaymlopsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
