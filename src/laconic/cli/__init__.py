"""The commands.

Its modules, in reading order:

- `options`: option types, checks and openings that commands share
- `processes`: commands that several processes run together
- `show`: results as the commands print them
- `evaluate`: `evaluate`
- `batch`: `batch`
- `measure`: `probe`, `select`, `audit`, `compare`, `report`
- `catalogue`: the lists that `list` prints
- `demo`: the program behind `demo`, which runs both phases on the embedded reasoner
- `train`: `demo`, `train`, `track`, `sweep`, `doctor`, `list`
- `export`: `export verl`, `export lm-eval`, `export inspect`
- `serve`: `serve`
- `hand_over`: `quantize`, `publish`
- `traffic`: `traffic what`, `traffic forget`
- `harvest`: `traffic problems`, `traffic pairs`, `traffic next`
- `app`: the `laconic` command
"""
