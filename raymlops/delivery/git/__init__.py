"""Commits and files of git repositories, here and elsewhere, without git's program."""
