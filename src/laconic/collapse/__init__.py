"""Collapse: from the figures of a phase's steps to alarms that say what goes wrong and which key of the recipe to try.

Its modules, in reading order:

- `signals`: the figures of a step, beside those with which the phase began
- `alarms`: the eight alarms as rows of one table
- `vigil`: raises an alarm once its sign has lasted
- `idle`: why a step taught nothing
"""
