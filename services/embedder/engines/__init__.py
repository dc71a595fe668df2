"""What computes the vectors: one module an engine."""
