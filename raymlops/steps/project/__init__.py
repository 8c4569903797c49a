"""The user's project as the steps see it, and what is wrong with it."""
