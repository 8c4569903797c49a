"""Training gives way to serving where both want the same cores."""

from __future__ import annotations

import os

__all__ = ["TRAINING_NICENESS", "give_way"]

TRAINING_NICENESS = 15
"""What Ray gives every worker; here only those that train keep it."""


def give_way() -> None:
    """Let everything else on the machine go before this process; a repeat changes nothing."""
    os.setpriority(os.PRIO_PROCESS, 0, max(TRAINING_NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
