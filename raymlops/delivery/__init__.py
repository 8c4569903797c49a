"""From a project's source to a tested, immutable bundle, and from there into an environment."""

from raymlops.delivery.admission.approval import approve_bundle, approvers
from raymlops.delivery.admission.rules import DeliveryStore
from raymlops.delivery.bundle import BundleParts, build_bundle
from raymlops.delivery.environment import rollback_target, verify_here
from raymlops.delivery.packages.bill import environment_bill
from raymlops.delivery.packages.locking import lock_project
from raymlops.delivery.packages.wheels import WHEELS, install_wheels
from raymlops.delivery.project import read_project
from raymlops.delivery.provenance import create_key, read_key
from raymlops.delivery.verify import lock_file, read_sources, verify_bundle, verify_unpacked

__all__ = [
    "WHEELS",
    "BundleParts",
    "DeliveryStore",
    "approve_bundle",
    "approvers",
    "build_bundle",
    "create_key",
    "environment_bill",
    "install_wheels",
    "lock_file",
    "lock_project",
    "read_key",
    "read_project",
    "read_sources",
    "rollback_target",
    "verify_bundle",
    "verify_here",
    "verify_unpacked",
]
