"""Sequence operators: one folder an op, one reference, several forms."""
