"""Profiles, drift, realised performance and reports: what a model does after it ships."""

from raymlops.monitoring.profile import Profile, Reference

__all__ = ["Profile", "Reference"]
