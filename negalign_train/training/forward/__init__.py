"""How a row runs through the model: prefix trees, packing, LoRA, the last layer, the head."""
