"""From a candidate to a champion: the state machine, its evidence and its decisions."""
