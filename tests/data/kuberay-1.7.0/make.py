"""Writes the schemas beside this file: ``python make.py DIRECTORY_OF_THE_CRDS``."""

import json
import lzma
import sys
from pathlib import Path
from typing import Any

import yaml


def without_descriptions(node: Any) -> Any:
    """A schema without its texts."""
    if isinstance(node, dict):
        texts = [key for key, value in node.items() if key == "description" and isinstance(value, str)]
        return {key: without_descriptions(value) for key, value in node.items() if key not in texts}
    return [without_descriptions(each) for each in node] if isinstance(node, list) else node


if __name__ == "__main__":
    for plural in ("rayclusters", "rayservices"):
        crd = yaml.safe_load(Path(sys.argv[1], f"ray.io_{plural}.yaml").read_text())
        served = next(version for version in crd["spec"]["versions"] if version["name"] == "v1")
        schema = without_descriptions(served["schema"]["openAPIV3Schema"])
        text = json.dumps(schema, sort_keys=True, separators=(",", ":")).encode()
        Path(__file__).with_name(f"{plural}.v1.json.xz").write_bytes(lzma.compress(text, preset=9))
