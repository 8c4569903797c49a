"""The Serve deployments: a model's endpoint, a candidate on trial, the gateway."""
