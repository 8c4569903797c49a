"""The demo's loop on three Ray nodes that share no disk, some of which are killed, beside a run on one node."""
