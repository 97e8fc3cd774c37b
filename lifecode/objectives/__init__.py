"""What Life-Code learns from, each a file; `Sum` combines them."""
