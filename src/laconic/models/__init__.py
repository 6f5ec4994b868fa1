"""Weights, and the roles that share them.

Its modules, in reading order:

- `onednn`: float32 matrix products on a CPU through oneDNN
- `loading`: a causal LM as backbone and head: load it, score tokens with it
- `teachers`: whether a phase's teacher can teach its student
- `policy`: the trained model with its critic and its reference
"""
