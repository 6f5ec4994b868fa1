"""The programs as functions of plain values, for notebooks and scripts: what `import laconic` offers.

Its modules, in reading order:

- `results`: what the functions return
- `solvers`: a model, by its name or from memory, and the solver that asks it
- `measuring`: probe and evaluate
- `choosing`: select problems from a probe
- `training`: train a recipe
- `comparing`: compare and report
"""
