"""The feature store."""

from __future__ import annotations

from pydantic import Field

from raymlops.config.section import Duration, Section
from raymlops.config.section import parse_duration as _d

__all__ = ["FeaturesConfig"]


class FeaturesConfig(Section):
    """How much of the past the online store keeps at hand."""

    history: Duration = _d("0s")
    """How far back an online read may ask (``at``) and still equal the point-in-time join; the longest aggregate
    window is kept on top of it."""
    online_bytes: int = Field(4 << 30, ge=1 << 20)
    """Largest size the online store may grow to; address space, not memory."""
