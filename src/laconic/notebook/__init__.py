"""The programs as functions of plain values, for notebooks and scripts: what `import laconic` offers.

Its modules, in reading order:

- `arguments`: checks what the functions are given
- `results`: what the functions return
- `solvers`: loads a model, by its name or from memory, and makes the solver that samples from it
- `measuring`: the functions `probe` and `evaluate`
- `choosing`: the function `select`, which chooses problems from a probe
- `training`: the function `train`, which trains a recipe
- `comparing`: the functions `compare` and `report`
"""
