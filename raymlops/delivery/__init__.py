"""From a project's source to a tested, immutable bundle, and from there into an environment."""

from raymlops.delivery.approval import approve_bundle, approvers
from raymlops.delivery.bundle import build_bundle
from raymlops.delivery.environment import deploy_bundle, rollback_target
from raymlops.delivery.project import read_project
from raymlops.delivery.provenance import create_key, read_key
from raymlops.delivery.rules import DeliveryStore
from raymlops.delivery.verify import read_sources, verify_bundle, verify_unpacked

__all__ = [
    "DeliveryStore",
    "approve_bundle",
    "approvers",
    "build_bundle",
    "create_key",
    "deploy_bundle",
    "read_key",
    "read_project",
    "read_sources",
    "rollback_target",
    "verify_bundle",
    "verify_unpacked",
]
