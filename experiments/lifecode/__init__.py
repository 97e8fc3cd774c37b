"""Experiments of Life-Code."""
