"""How a row runs through the model: prefix trees, packing, the head."""
