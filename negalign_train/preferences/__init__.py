"""From graded events to preference pairs, unpaired examples, weights, splits and replay."""
