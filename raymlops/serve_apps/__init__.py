"""Serve applications for declarative deployment: ``build(args) -> Application``."""
