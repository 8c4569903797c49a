"""Every alert rule fires where it should, is silent where it should, and says what to do."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "configs" / "prometheus" / "rules.yml"
CASES = ROOT / "configs" / "prometheus" / "rules_test.yml"


def rules() -> list[dict[str, object]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def test_promtool_tries_every_rule() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool, of Debian's package prometheus")
    command = [promtool, "test", "rules", CASES.name]
    done = subprocess.run(command, cwd=CASES.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_firing_and_a_silent_case() -> None:
    tried: dict[str, set[bool]] = {}
    for case in yaml.safe_load(CASES.read_text())["tests"]:
        for expected in case["alert_rule_test"]:
            tried.setdefault(expected["alertname"], set()).add(bool(expected["exp_alerts"]))
    assert tried == {str(rule["alert"]): {True, False} for rule in rules()}


def test_every_alert_names_a_runbook_that_is_there() -> None:
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbooks.md").read_text(), re.MULTILINE)
    assert headings == [rule["alert"] for rule in rules()]
    for rule in rules():
        annotations, labels = rule["annotations"], rule["labels"]
        assert isinstance(annotations, dict)
        assert isinstance(labels, dict)
        assert annotations["runbook_url"] == f"docs/runbooks.md#{str(rule['alert']).lower()}"
        assert labels["severity"] in {"info", "warning", "critical"}
