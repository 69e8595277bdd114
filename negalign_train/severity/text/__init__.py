"""A report as exported, to its sections, sentences and words."""
