"""Events as other systems import them."""
