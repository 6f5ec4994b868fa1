"""Finds what would waste a run before it begins.

Its modules, in reading order:

- `memory_model`: predicts the peak memory of a phase from shapes
- `memory_needs`: the memory that a recipe needs
- `dry_run`: what a recipe would do, and where its rewards push length
- `findings`: the result of a check
- `reading`: the configuration, tokenizer, problems and probe that checks look at
- `examination`: everything the checks look at, read once
- `checks`: the checks, with one module for each thing that they look at
- `run`: the program, and the table of checks
"""
