"""What all three papers stand on: encoder, kernels, trainer, probes."""
