"""Generation on held-out cases, metrics, and the gate."""
