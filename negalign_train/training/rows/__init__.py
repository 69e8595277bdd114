"""Preference files to tokenised rows and batches."""
