"""Commands about features."""
