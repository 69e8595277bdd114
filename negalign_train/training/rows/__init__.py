"""Preference files to tokenised rows: turns, order, batches, steps."""
