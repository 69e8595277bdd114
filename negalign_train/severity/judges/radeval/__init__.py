"""Clinical metrics of the package ``radeval`` as judges: RadGraph, CheXbert, GREEN."""
