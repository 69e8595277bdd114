"""Which settings a candidate may have, together."""
