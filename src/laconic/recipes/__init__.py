"""The recipes that are shipped: TOML files, each with its command, hardware and expected figures.

Its modules, in reading order:

- `find`: the shipped recipes by name
"""
