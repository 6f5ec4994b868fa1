"""A probe to chosen problems, each with its reason.

Its modules, in reading order:

- `stopping`: how many more samples a problem gets in an adaptive probe
- `probe`: the program that measures solve rate and length of each problem
- `decisions`: what is kept, what is dropped, and why, in one line each
- `rules`: the selection rules, a table
- `pool`: what a phase trains on, decided once
- `program`: from a probe's file to a file of problems
"""
