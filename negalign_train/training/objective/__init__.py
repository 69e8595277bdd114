"""Losses and margins: pure functions of tensors."""
