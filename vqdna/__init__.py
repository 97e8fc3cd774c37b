"""VQDNA: a learned genome vocabulary. Not started."""
