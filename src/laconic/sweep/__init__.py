"""Recipes at several seeds, side by side, to one table and one page.

Its modules, in reading order:

- `config`: a sweep file: which entries run at which seeds
- `rows`: the records of a sweep's results, and what is said over seeds
- `results`: what finished runs show, put together over seeds
- `tables`: results as text, for people and for programs
- `figures`: accuracy against mean tokens
- `page`: the files a sweep leaves
- `prompts`: merely asking: a model evaluated under a prompt
- `children`: the processes of a sweep
- `run`: the program
"""
