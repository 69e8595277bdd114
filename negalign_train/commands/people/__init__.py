"""Commands for people who grade reports."""
