"""Whole files in and out, behind the commands that read or write them."""
