"""Life-Code (arXiv:2502.07299): DNA, RNA and protein as nucleotides."""
