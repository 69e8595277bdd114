"""Losses, trainers, the policy, and the launched entry point."""
