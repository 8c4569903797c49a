"""The definitions that are applied, and how new ones are checked against them."""
