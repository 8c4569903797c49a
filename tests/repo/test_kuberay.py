"""The manifests for KubeRay: what its operator accepts, and names that lead to each other."""

from __future__ import annotations

import ast
import json
import lzma
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import raymlops
from raymlops.config.infrastructure.cluster import FastSettings
from raymlops.config.reading.loader import load_config

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "configs" / "kuberay"
SCHEMAS = ROOT / "tests" / "data" / "kuberay-1.7.0"
SHARED = list(yaml.safe_load_all((MANIFESTS / "shared.yaml").read_text()))
RAY = version("ray")
KINDS = {"raycluster.yaml": "rayclusters", "rayservice.yaml": "rayservices"}


def strict(schema: Any) -> Any:
    """A structural schema as JSON Schema: a field that it does not name is a fault, not pruned in silence."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(value) for key, value in schema.items() if key not in {"default", "properties"}}
    if "properties" in schema:
        found["properties"] = {name: strict(each) for name, each in schema["properties"].items()}
        if schema.get("type") == "object" and not schema.get("x-kubernetes-preserve-unknown-fields"):
            found["additionalProperties"] = False
    return found


def validator(plural: str) -> jsonschema.Draft202012Validator:
    schema = strict(json.loads(lzma.decompress((SCHEMAS / f"{plural}.v1.json.xz").read_bytes())))
    schema["properties"]["metadata"] = {"type": "object"}  # Kubernetes' own
    return jsonschema.Draft202012Validator(schema)


def faults(plural: str, document: Any) -> list[str]:
    return [f"{each.json_path}: {each.message[:200]}" for each in validator(plural).iter_errors(document)]


def manifest(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((MANIFESTS / name).read_text())
    return document


def cluster_of(document: Mapping[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = document["spec"]
    return dict(spec.get("rayClusterConfig", spec))


def templates(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    cluster = cluster_of(document)
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        yield group["template"]


def shared(kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in SHARED if each["kind"] == kind}


@pytest.mark.parametrize(("name", "plural"), KINDS.items())
def test_the_operator_accepts_the_manifest(name: str, plural: str) -> None:
    assert faults(plural, manifest(name)) == []


def test_a_misspelt_field_and_a_wrong_type_are_found() -> None:
    document = manifest("raycluster.yaml")
    document["spec"]["headGroupSpec"]["template"]["spec"]["container"] = []
    document["spec"]["workerGroupSpecs"][0]["replicas"] = "two"
    told = "\n".join(faults("rayclusters", document))
    assert "'container' was unexpected" in told
    assert "'two' is not of type 'integer'" in told


@pytest.mark.parametrize("name", KINDS)
def test_every_secret_setting_and_volume_that_is_named_is_there(name: str) -> None:
    document = manifest(name)
    assert cluster_of(document)["authOptions"]["secretName"] in shared("Secret")
    for template in templates(document):
        spec = template["spec"]
        volumes = {each["name"]: each for each in spec["volumes"]}
        for volume in volumes.values():
            claim, settings = volume.get("persistentVolumeClaim"), volume.get("configMap")
            assert claim is None or claim["claimName"] in shared("PersistentVolumeClaim")
            assert settings is None or settings["name"] in shared("ConfigMap")
        for container in [*spec["initContainers"], *spec["containers"]]:
            assert {each["name"] for each in container["volumeMounts"]} <= volumes.keys()
            for source in container.get("envFrom", ()):
                assert source["secretRef"]["name"] in shared("Secret")


@pytest.mark.parametrize("name", KINDS)
def test_versions_and_settings_are_those_of_the_package(name: str) -> None:
    document = manifest(name)
    assert cluster_of(document)["rayVersion"] == RAY
    for template in templates(document):
        install, container = template["spec"]["initContainers"][0], template["spec"]["containers"][0]
        assert install["command"][-1] == f"raymlops[postgres,redis]=={raymlops.__version__}"
        assert install["image"] == container["image"] == f"rayproject/ray:{RAY}-py311"
        variables = {each["name"]: each["value"] for each in container["env"]}
        assert FastSettings().environment().items() <= variables.items()
        assert variables["RAYMLOPS_CONFIG"] == "/etc/raymlops/platform.yaml"


def test_each_disruption_budget_covers_pods_of_both_manifests() -> None:
    budgets = shared("PodDisruptionBudget").values()
    wanted = {budget["spec"]["selector"]["matchLabels"]["ray.io/node-type"] for budget in budgets}
    assert wanted == {"head", "worker"}
    for budget in budgets:
        labels = dict(budget["spec"]["selector"]["matchLabels"])
        del labels["ray.io/node-type"]  # which the operator sets
        for template in (each for name in KINDS for each in templates(manifest(name))):
            assert labels.items() <= template["metadata"]["labels"].items()


def test_the_settings_and_the_variables_of_the_stores_load(tmp_path: Path) -> None:
    (tmp_path / "platform.yaml").write_text(shared("ConfigMap")["raymlops-settings"]["data"]["platform.yaml"])
    variables = shared("Secret")["raymlops-stores"]["stringData"]
    config = load_config(tmp_path / "platform.yaml", environ=variables)
    assert (config.environment, config.serving.host) == ("prod", "0.0.0.0")
    assert str(config.metadata.url).startswith("postgresql+psycopg://")
    assert config.features.online_store.startswith("redis://")


def test_what_is_deployed_by_name_is_in_the_package() -> None:
    """Read, not imported: importing it imports Ray."""
    deployed = [
        manifest("rayservice.yaml")["spec"]["serveConfigV2"],
        (ROOT / "configs/serve/endpoint.yaml").read_text(),
    ]
    for application in (each for text in deployed for each in yaml.safe_load(text)["applications"]):
        module, _, name = application["import_path"].partition(":")
        source = ROOT.joinpath(*module.split(".")).with_suffix(".py")
        functions = [each.name for each in ast.parse(source.read_text()).body if isinstance(each, ast.FunctionDef)]
        assert name in functions
