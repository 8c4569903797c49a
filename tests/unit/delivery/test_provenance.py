"""Signed bundles."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import pytest

from raymlops.config.delivery import EnvironmentRules
from raymlops.delivery import create_key, read_key, verify_bundle
from raymlops.delivery.provenance import read_signed, sign_bundle
from raymlops.errors import ConfigError, DeploymentError
from raymlops.records.bundles import BundleManifest, Source

SOURCE = Source(commit="a" * 40, author="Ada <ada@example.org>", branch="main")


@pytest.fixture
def bundle(built: tuple[Path, BundleManifest], tmp_path: Path) -> tuple[Path, BundleManifest]:
    root, manifest = built
    place = tmp_path / manifest.digest
    shutil.copytree(root / manifest.digest, place)
    return place, manifest


def test_a_bundle_is_signed_by_a_builder_that_is_trusted(bundle: tuple[Path, BundleManifest], tmp_path: Path) -> None:
    place, manifest = bundle
    ours, theirs = create_key(tmp_path / "ours"), create_key(tmp_path / "theirs")
    assert (tmp_path / "ours").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "ours.pub").read_text().strip() == ours
    EnvironmentRules(builders={"ci": ours})
    sign_bundle(place, manifest, SOURCE, read_key(tmp_path / "theirs"))
    with pytest.raises(DeploymentError, match=r"must be signed by one of ci, and is by none of them"):
        read_signed(place, manifest, {"ci": ours})
    written = sign_bundle(place, manifest, SOURCE, read_key(tmp_path / "ours"))
    assert read_signed(place, manifest, {"ci": ours, "other": theirs}).source == SOURCE
    assert read_signed(place, manifest, {"ci": ours}).builder == "ci"
    assert verify_bundle(place) == manifest
    once = written.read_bytes()
    sign_bundle(place, manifest, None, read_key(tmp_path / "ours"))
    assert written.read_bytes() == once


def test_the_envelope_is_of_the_standard(bundle: tuple[Path, BundleManifest], tmp_path: Path) -> None:
    """By the primitives alone: the signature is over DSSE's encoding of an in-toto statement about the digest."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    place, manifest = bundle
    public = create_key(tmp_path / "key")
    envelope = json.loads(sign_bundle(place, manifest, SOURCE, read_key(tmp_path / "key")).read_text())
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    encoded = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public.removeprefix("ed25519:")))
    key.verify(base64.b64decode(envelope["signatures"][0]["sig"]), encoded)
    statement = json.loads(payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert statement["subject"] == [{"name": "flights", "digest": {"sha256": manifest.digest}}]
    commit = statement["predicate"]["buildDefinition"]["resolvedDependencies"][-1]
    assert commit == {"name": "commit", "digest": {"gitCommit": "a" * 40}}


@pytest.mark.parametrize("fault", ["another subject", "altered payload", "altered signature", "no envelope", "empty"])
def test_what_was_altered_is_signed_by_nobody(bundle: tuple[Path, BundleManifest], tmp_path: Path, fault: str) -> None:
    place, manifest = bundle
    public = create_key(tmp_path / "key")
    signer = read_key(tmp_path / "key")
    if fault == "another subject":
        sign_bundle(place, manifest.model_copy(update={"digest": "b" * 64}), SOURCE, signer)
    else:
        written = sign_bundle(place, manifest, SOURCE, signer)
        envelope = json.loads(written.read_text())
        if fault == "altered payload":
            altered = base64.b64decode(envelope["payload"]).replace(b'"main"', b'"evil"')
            envelope["payload"] = base64.b64encode(altered).decode()
        elif fault == "altered signature":
            envelope["signatures"][0]["sig"] = base64.b64encode(b"0" * 64).decode()
        content = {"no envelope": "[1]", "empty": ""}.get(fault, json.dumps(envelope))
        written.chmod(0o600)
        written.write_text(content)
    with pytest.raises(DeploymentError, match="by none of them"):
        read_signed(place, manifest, {"ci": public})


def test_keys_that_are_none_are_told_in_one_line(tmp_path: Path) -> None:
    create_key(tmp_path / "key")
    with pytest.raises(ConfigError, match="cannot be written: File exists"):
        create_key(tmp_path / "key")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_key(tmp_path / "nowhere")
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(ConfigError, match=r"must be its owner's alone"):
        read_key(tmp_path / "key")
    (tmp_path / "junk").write_text("junk")
    (tmp_path / "junk").chmod(0o600)
    with pytest.raises(ConfigError, match="must be a private key in PEM"):
        read_key(tmp_path / "junk")


@pytest.mark.parametrize("key", ["", "ed25519:", "ed25519:" + "g" * 64, "rsa:" + "a" * 64, "ed25519:" + "a" * 63])
def test_a_public_key_has_its_form(key: str) -> None:
    with pytest.raises(ValueError, match="must be ed25519: and 64 hexadecimal digits"):
        EnvironmentRules(builders={"ci": key})
