"""Commands for when something is wrong, or has to be shown to be right."""
