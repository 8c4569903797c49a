"""A chaos campaign: a platform under load, whose processes are killed, and a judge who has seen every answer."""
