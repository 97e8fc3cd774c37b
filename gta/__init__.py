"""GTA: gene expression through a frozen language model. Not started."""
