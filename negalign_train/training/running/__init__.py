"""One run from start to published files: session, checkpoints, averaging, failure, outputs."""
