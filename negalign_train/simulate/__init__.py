"""Error injection and simulated readers; never imported by the product path."""
