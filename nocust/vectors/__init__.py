"""Recomputation of every value of a file of test vectors."""
