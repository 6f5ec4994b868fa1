"""The same rewards, grades and problems inside other people's systems.

Its modules, in reading order:

- `trl`: what a user of TRL calls: `reward`, `dataset` and `callback`
- `in_trl`: what these three are made of
"""
