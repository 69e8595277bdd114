"""Small generators trained from scratch, and what they learn from."""
