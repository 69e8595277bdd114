"""From the fields and words of an export to those of an event: the one place for all formats."""
