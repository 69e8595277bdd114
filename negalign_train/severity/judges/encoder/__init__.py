"""A sentence encoder as an aid to the rules: what they cannot read gets the nearest known words."""
