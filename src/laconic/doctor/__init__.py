"""Finds what would waste a run before it begins.

Its modules, in reading order:

- `spread`: over how many GPUs a run is spread
- `weights`: how many weights a decoder of a shape has
- `memory_model`: predicts the peak memory of a phase from shapes
- `memory_needs`: the memory that a recipe needs
- `reading`: the configuration, tokenizer, problems and probe that checks look at
- `gpus`: GPUs by name, with the figures of their data sheets
- `cost_model`: predicts operations and seconds from shapes
- `traffic`: predicts what GPUs send each other
- `workload`: the responses and tokens of every part of a run
- `machines`: the machine for which time is predicted, a GPU or this one
- `cost_report`: tokens, operations, hours and cost as a table
- `findings`: the result of a check
- `examination`: everything the checks look at, read once
- `checks`: the checks, with one module for each thing that they look at
- `dry_run`: what a recipe would do, what it would take, and where its rewards push length
- `run`: the program, and the table of checks
"""
