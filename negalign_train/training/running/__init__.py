"""One run from start to published files: session, checkpoints, outputs."""
