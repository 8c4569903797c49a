"""Reconciliation: the planned applications and jobs against those that run."""
