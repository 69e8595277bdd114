"""Recipes: a cycle, its candidates and its gate; strict parsing, launch files, estimates."""
