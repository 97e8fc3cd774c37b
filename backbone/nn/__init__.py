"""Layers: typed containers of parameters, with plain functions of arrays."""
