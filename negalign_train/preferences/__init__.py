"""From graded events to preference pairs, unpaired examples and their weights."""
