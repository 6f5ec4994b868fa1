"""What would waste a run, found before it begins.

Its modules, in reading order:

- `memory_model`: peak memory of a phase, predicted from shapes
- `memory_needs`: what a recipe needs of memory
- `dry_run`: what a recipe would do, and where its rewards push length
- `findings`: what a check says
- `reading`: the configuration, tokenizer, problems and probe that checks look at
- `examination`: everything the checks look at, read once
- `checks`: the checks, a module for each thing looked at
- `run`: the program, and the table of checks
"""
