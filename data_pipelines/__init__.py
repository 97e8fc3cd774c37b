"""From genomes, annotations and proteins to packed batches of nucleotides."""
