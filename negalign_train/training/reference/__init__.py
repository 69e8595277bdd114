"""Log-probabilities of the reference model, and their cache."""
