"""Evaluation folders to a verdict: is the candidate shorter, and as accurate? No torch.

Its modules, in reading order:

- `folders`: evaluation folders, read and checked
- `contenders`: who is compared: models, checkpoints or prompts
- `matching`: which evaluation meets which, and what is refused
- `across_prompts`: token complexity over several prompts
- `figures`: what changed from a base to a candidate: records
- `sentences`: what a comparison says, in words
- `records`: a whole comparison, to comparison.json and back
- `tables`: a comparison for the terminal
- `compare`: the program
- `audit`: stored responses graded again, and where the two graders differ
"""
