"""Facts to severities."""
