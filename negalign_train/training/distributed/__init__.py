"""Several processes, and parameters in pieces."""
