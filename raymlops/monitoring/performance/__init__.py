"""How good the answers were: realised with labels, estimated without, by segment."""
