"""Where the feature store may be configured to be."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from raymlops.config.features import FeaturesConfig


def test_the_root_is_in_the_home_unless_it_is_elsewhere() -> None:
    home = Path("/home")
    assert FeaturesConfig().place(home).root == home / "features"
    options = {"AWS_REGION": "eu-north-1", "AWS_ENDPOINT_URL": "http://127.0.0.1:9000"}
    config = FeaturesConfig(root="s3://bucket/features", storage_options=options)
    assert (config.place(home).root, config.storage_options) == ("s3://bucket/features", options)


@pytest.mark.parametrize(
    "name", ["AWS_SECRET_ACCESS_KEY", "aws_session_token", "AWS_ACCESS_KEY_ID", "azure_account_key"]
)
def test_secrets_stand_in_no_file_and_no_message(name: str) -> None:
    with pytest.raises(ValidationError, match=f"must hold no secrets: set {name} in the environment") as caught:
        FeaturesConfig(storage_options={name: "never-to-be-seen"})
    assert "never-to-be-seen" not in str(caught.value)
