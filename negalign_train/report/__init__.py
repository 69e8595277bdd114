"""The page of one cycle that people look at."""
