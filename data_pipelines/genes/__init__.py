"""Genes with their surroundings, a measured value and a text each."""
