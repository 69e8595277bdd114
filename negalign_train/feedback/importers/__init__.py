"""Feedback as other systems export it, as events: one module a format, one table of them."""
