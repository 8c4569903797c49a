"""Commands about monitoring."""
