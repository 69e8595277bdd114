"""What a run is asked to do: strict recipes, launch files, estimates."""
