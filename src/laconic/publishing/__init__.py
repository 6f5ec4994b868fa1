"""A model with its card and its measured figures, for a folder or the hub."""
