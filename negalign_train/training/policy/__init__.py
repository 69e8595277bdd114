"""The base model and the adapters on it."""
