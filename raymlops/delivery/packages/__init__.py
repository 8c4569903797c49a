"""The packages of a bundle: what a project declares, the lock with hashes, wheels, and the bill of materials."""
