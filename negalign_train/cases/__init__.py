"""Prompts with ground truth: synthetic grammar, OpenI, plain JSONL."""
