"""Windows of genomes with measured tracks along them."""
