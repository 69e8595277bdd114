"""The policy: how the base model and its adapters are loaded, checked and held."""
