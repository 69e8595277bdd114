"""Graded reader feedback in, the next gated LoRA adapter out."""
