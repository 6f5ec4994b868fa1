"""Evaluates a model on problems and writes an evaluation folder: accuracy and tokens, with intervals.

Its modules, in reading order:

- `folder_names`: how folders name what was evaluated
- `problem_meta`: what the source says of each problem, for slices
- `figures`: summary.json as a record
- `summary`: computes the figures of summary.json from stored responses
- `budget_curve`: accuracy when the thinking is cut short at a budget
- `planned_prompts`: prompts that find a token budget for each problem first
- `evaluate`: the program
- `shared_draws`: what the start model answered, shared by the runs of a sweep
- `batch`: responses to prompts without a gold answer, which are not graded
"""
