"""Errors put into right reports, by kind."""
