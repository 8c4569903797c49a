"""Provenance of a bundle: an in-toto statement of SLSA provenance v1 in a DSSE envelope, signed by Ed25519.

Other tools can verify it: https://github.com/secure-systems-lab/dsse, https://slsa.dev/spec/v1.0/provenance.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from raymlops.errors import ConfigError, DeploymentError
from raymlops.records.bundles import BundleManifest, Source

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

__all__ = ["Signed", "create_key", "read_key", "read_signed", "sign_bundle"]

_TYPE = "application/vnd.in-toto+json"
_STATEMENT, _PREDICATE = "https://in-toto.io/Statement/v1", "https://slsa.dev/provenance/v1"
_BUILD = "raymlops/bundle/v1"


def create_key(path: Path) -> str:
    """Make a private key, in a file that only its owner can read, and its public key in ``path.pub``.

    Returns:
        The public key, as the rules of an environment have it.

    Raises:
        ConfigError: The file is there, or cannot be written.
    """
    from securesystemslib.signer import CryptoSigner

    signer = CryptoSigner.generate_ed25519()
    public = _public(signer)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(signer.private_bytes)
        path.with_name(f"{path.name}.pub").write_text(f"{public}\n")
    except OSError as error:
        raise ConfigError(f"key {path} cannot be written: {error.strerror}", path=str(path)) from error
    return public


def read_key(path: Path) -> CryptoSigner:
    """The private key in a file.

    Raises:
        ConfigError: The file cannot be read, others may read it, or it holds no Ed25519 key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    try:
        content, mode = path.read_bytes(), path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"key {path} cannot be read: {error.strerror}", path=str(path)) from error
    if mode & 0o077:
        raise ConfigError(f"key {path} must be its owner's alone (chmod 600), got mode {mode & 0o777:o}")
    try:
        key = load_pem_private_key(content, None)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"key {path} must be a private key in PEM, without a password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"key {path} must be an Ed25519 key, got {type(key).__name__}")
    return CryptoSigner(key)


class Signed(NamedTuple):
    """The statement of a trusted builder about a bundle."""

    builder: str
    source: Source | None


def sign_bundle(directory: Path, manifest: BundleManifest, source: Source | None, signer: CryptoSigner) -> Path:
    """Sign a verified bundle; the envelope stands beside it. A key signs a bundle once.

    Args:
        directory: The bundle's.
        manifest: As ``verify_bundle`` gave it.
        source: The commit that this builder built it from.
        signer: The builder's key.
    """
    from securesystemslib.dsse import Envelope

    place = directory / f"provenance-{signer.public_key.keyid[:16]}.json"
    if not place.exists():
        statement = _statement(manifest, source, _public(signer))
        envelope = Envelope(json.dumps(statement, sort_keys=True).encode(), _TYPE, {})
        envelope.sign(signer)
        draft = place.with_name(f".{place.name}.{os.getpid()}")
        draft.write_text(json.dumps(envelope.to_dict(), indent=2))
        draft.chmod(0o444)
        draft.replace(place)
    return place


def read_signed(directory: Path, manifest: BundleManifest, builders: Mapping[str, str]) -> Signed:
    """The verified statement of a trusted builder about a bundle.

    Args:
        directory: The bundle's.
        manifest: As ``verify_bundle`` gave it.
        builders: Name -> public key, of those that are trusted.

    Raises:
        DeploymentError: None of them signed it.
    """
    for path in sorted(directory.glob("provenance-*.json")):
        for name, public in builders.items():
            found = _opened(path, public)
            if found is None:
                continue
            source = Source.model_validate(found["source"]) if found["source"] else None
            if found["statement"] == _statement(manifest, source, public):
                return Signed(name, source)
    raise DeploymentError(
        f"bundle {manifest.digest}: must be signed by one of {', '.join(sorted(builders))}, and is by none of them",
        digest=manifest.digest,
    )


def _opened(path: Path, public: str) -> dict[str, Any] | None:
    """The statement in an envelope, and the commit that it names; ``None`` where the key did not sign that."""
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import Error

    try:
        envelope = Envelope.from_dict(json.loads(path.read_bytes()))
        envelope.verify([_key(public)], 1)
        if envelope.payload_type != _TYPE:
            return None
        statement = json.loads(envelope.payload)
        return {
            "statement": statement,
            "source": statement["predicate"]["buildDefinition"]["externalParameters"]["source"],
        }
    except (
        OSError,
        Error,
        ValueError,
        KeyError,
        TypeError,
    ):  # another key's, or altered: no trusted statement
        return None


def _statement(manifest: BundleManifest, source: Source | None, public: str) -> dict[str, Any]:
    dependencies: list[dict[str, Any]] = [
        {"name": "archive", "digest": {"sha256": manifest.archive_sha256}},
        {"name": "lock", "digest": {"sha256": manifest.lock_sha256}},
    ]
    if "ray" in manifest.packages:
        dependencies.append({"name": "ray", "uri": f"pkg:pypi/ray@{manifest.packages['ray']}"})
    if source is not None:
        dependencies.append({"name": "commit", "digest": {"gitCommit": source.commit}})
    return {
        "_type": _STATEMENT,
        "subject": [{"name": manifest.project.name, "digest": {"sha256": manifest.digest}}],
        "predicateType": _PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD,
                "externalParameters": {
                    "project": manifest.project.name,
                    "source": None if source is None else source.model_dump(mode="json"),
                },
                "resolvedDependencies": dependencies,
            },
            "runDetails": {"builder": {"id": public}, "byproducts": _byproducts(manifest)},
        },
    }


def _byproducts(manifest: BundleManifest) -> list[dict[str, Any]]:
    counts: list[dict[str, Any]] = [{"name": "tests", "annotations": manifest.tests}]
    if manifest.checks:
        counts.append({"name": "checks", "annotations": manifest.checks})
    return counts + [{"name": name, "digest": {"sha256": sha}} for name, sha in sorted(manifest.byproducts.items())]


def _public(signer: CryptoSigner) -> str:
    return f"ed25519:{signer.public_key.keyval['public']}"


def _key(public: str) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from securesystemslib.signer import SSlibKey

    number = bytes.fromhex(public.removeprefix("ed25519:"))
    return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(number))
