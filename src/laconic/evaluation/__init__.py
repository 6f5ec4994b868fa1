"""A model and problems to an evaluation folder: accuracy and tokens, with intervals.

Its modules, in reading order:

- `folder_names`: how folders name what was evaluated
- `figures`: summary.json as a record
- `summary`: stored responses to the figures of summary.json
- `budget_curve`: what thinking is worth when it is cut short
- `planned_prompts`: prompts that find a token budget for each problem first
- `evaluate`: the program
"""
