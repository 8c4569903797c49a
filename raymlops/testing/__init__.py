"""Contract suites that every backend of a Protocol must pass, and example records to try a part of one's own on."""
