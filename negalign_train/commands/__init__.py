"""The commands of ``negalign``, one module each. No torch at import."""
