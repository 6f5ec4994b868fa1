"""What each response of a group earns, as a function of the group's numbers.

Its modules, in reading order:

- `numbers`: what a reward may look at: the numbers of one group, and what the run remembers
- `parts`: terms made to be added to others: the levels and plain prices of length
- `text_rules`: whether a text repeats itself or is garbled, by rules alone
- `penalties`: T1's penalties for repetition, running over the cap and garbled text
- `budgets`: rewards that hold a response against a number of tokens
- `relative`: rewards that compare a response with others of its problem
- `laser`: LASER, LASER-D and LASER-DE
- `lead`: LEAD
- `remembering`: rewards that remember earlier steps
- `own`: a person's own reward, in a file of theirs
- `table`: the table of all rewards, a row for each
- `paying`: paying a group by some of them, and remembering a step
- `from_recipe`: from a recipe's `[phases.rewards]` to terms, and what can be said of them beforehand
- `length_forecast`: which way a recipe pushes length, before a step is run
"""
