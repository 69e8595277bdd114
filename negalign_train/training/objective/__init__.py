"""Losses and margins as pure functions of tensors; step metrics and the displacement guard."""
