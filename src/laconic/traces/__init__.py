"""Written-out reasoning in plain English: short problems with checkable answers, and thoughts that reach them.

A pretrained model that answers at once has to learn to think before post-training can make it think less: it is shown these
traces (a cold start). The embedded reasoner learned from traces as well, in symbols (`tiny/traces.py`).

Its modules, in reading order:

- `steps`: a step of reasoning, with the slip, the check and the second way that belong to it; a task made of steps
- `numbers`: families of bare numbers: sums, products, equations, missing numbers
- `stories`: families of word problems: things, purchases, ages, journeys, sharing
- `rows`: families about rows of numbers or words: sequences, counting, the largest and the smallest
- `families`: the table of families: those that are trained on, and those that are kept apart
- `expressions`: expressions of whole numbers, worked out step by step
- `linear`: linear equations in one unknown, solved step by step
- `gym_tasks`: reasoning for items of reasoning-gym, which must reach its answer
- `writing`: how a task becomes a trace: terse, plain or verbose, with slips that are noticed, checks and detours
- `lengths`: how tokens are counted, and questions that ask for a length
- `make`: distinct problems of a family, their answers and their traces
"""
