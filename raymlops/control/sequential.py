"""The statistics that trials are judged by, under the name that users of the controller know them by."""

from raymlops.sequential import bounded_bounds, fault_evidence, mean_bounds

__all__ = ["bounded_bounds", "fault_evidence", "mean_bounds"]
