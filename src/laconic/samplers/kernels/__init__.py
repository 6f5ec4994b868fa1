"""Attention over rows of different length on CUDA.

Its modules, in reading order:

- `sources`: the two Triton kernels
- `attention`: when they serve, and their launch
"""
