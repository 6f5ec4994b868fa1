"""Chooses problems by what a probe measured, each with its reason.

Its modules, in reading order:

- `stopping`: how many more samples a problem gets in an adaptive probe
- `probe`: the program that measures solve rate and length of each problem
- `decisions`: what is kept, what is dropped, and why, in one line each
- `rules`: the selection rules, a table
- `pool`: decides, in one place, which problems a phase trains on
- `program`: the program that turns a probe's file into a file of problems
"""
