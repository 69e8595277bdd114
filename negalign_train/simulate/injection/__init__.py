"""Errors injected into right reports, one module for each kind."""
