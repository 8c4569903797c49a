"""The Ray head as processes of this machine, and what keeps them up. Imports no Ray."""
