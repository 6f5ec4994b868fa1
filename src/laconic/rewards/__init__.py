"""What each response of a group earns, as a function of the group's numbers.

Its modules, in reading order:

- `numbers`: the input of a reward: the numbers of one group, and the run's memory of earlier steps
- `parts`: terms that are added to other terms: the levels and plain prices of length
- `text_rules`: whether a text repeats itself or is garbled, by rules alone
- `penalties`: T1's penalties for repetition, running over the cap and garbled text
- `budgets`: rewards that compare a response with a number of tokens
- `relative`: rewards that compare a response with other responses to its problem
- `laser`: LASER, LASER-D and LASER-DE
- `lead`: LEAD
- `remembering`: rewards that remember earlier steps
- `ranges`: the range of every option
- `own`: a user's own reward, in a Python file
- `table`: the table of all rewards, one row per reward
- `paying`: computing the rewards of a group from several terms, and remembering a step
- `from_recipe`: from a recipe's `[phases.rewards]` to terms, and the facts about them that forecasts and checks need
- `length_forecast`: whether a recipe makes responses shorter or longer, before a step is run
"""
