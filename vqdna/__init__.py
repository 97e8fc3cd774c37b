"""VQDNA: a learned genome vocabulary (arXiv:2405.10812); quantisers so far."""
