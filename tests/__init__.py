"""Tests mirror the tree; nothing imports them."""
