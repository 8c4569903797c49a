"""Commands that run the platform: ``up``, ``down``, ``status``, ``gc``, ``keys`` and ``console``."""
