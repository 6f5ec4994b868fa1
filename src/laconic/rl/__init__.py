"""The arithmetic of reinforcement learning on tensors: pure functions, no models and no files.

Its modules, in reading order:

- `shapes`: checks that a tensor has the shape that a function states
- `masked`: sums, means and standardisation under a mask, and the convention for masks
- `advantages`: from rewards and values to advantages: GAE and group baselines
- `losses`: from log-probabilities and advantages to a loss for each token
"""
