"""Protein language models to distil from."""
