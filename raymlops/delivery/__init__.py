"""From a project's source to a tested, immutable bundle, and from there into an environment."""

from raymlops.delivery.approval import APPROVALS_REQUIRED, approve_bundle, approvers
from raymlops.delivery.bundle import build_bundle
from raymlops.delivery.environment import DeliveryStore, deploy_bundle
from raymlops.delivery.project import read_project
from raymlops.delivery.verify import read_sources, verify_bundle, verify_unpacked

__all__ = [
    "APPROVALS_REQUIRED",
    "DeliveryStore",
    "approve_bundle",
    "approvers",
    "build_bundle",
    "deploy_bundle",
    "read_project",
    "read_sources",
    "verify_bundle",
    "verify_unpacked",
]
