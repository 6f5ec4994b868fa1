"""Laconic: reasoning language models that think in fewer tokens without losing accuracy."""

__version__ = "0.1.0"
