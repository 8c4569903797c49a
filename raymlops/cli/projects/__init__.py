"""Commands that make and play a project: ``init``, ``lab``, ``replay`` and ``demo``."""
