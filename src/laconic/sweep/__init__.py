"""Trains several recipes at several seeds, and writes one table and one page.

Its modules, in reading order:

- `config`: a sweep file: which entries run at which seeds
- `rows`: the records of a sweep's results, and means over seeds
- `results`: reads finished runs and combines them over seeds
- `arms`: finished runs as arms of an experiment, seed by seed and problem by problem
- `tables`: results as text, for people and for programs
- `figures`: accuracy against mean tokens
- `page`: the files that a sweep writes
- `prompts`: evaluates a model under a prompt, without training
- `children`: the processes of a sweep
- `run`: the program
"""
