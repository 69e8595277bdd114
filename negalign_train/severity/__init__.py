"""From text to nine severities."""
