"""Smaller weights, calibrated on the model's own responses."""
