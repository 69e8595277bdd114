"""Text to facts."""
