"""Copies of the online store on other nodes."""
