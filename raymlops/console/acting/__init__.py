"""Where people act: they sign in, see what an action would change, say why, and have it done."""
