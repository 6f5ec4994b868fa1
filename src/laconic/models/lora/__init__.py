"""Low-rank adaptation (LoRA) of a model: which layers it changes, and the adapters of several roles on one set of weights.

Its modules, in reading order:

- `targets`: which layers LoRA adapts, held against the model
- `adapters`: LoRA adapters on one set of base weights
"""
