"""Evaluation folders to a verdict: is the candidate shorter, and as accurate? No torch.

Its modules, in reading order:

- `folders`: evaluation folders, read and checked
- `contenders`: who is compared: models, checkpoints or prompts
- `matching`: which evaluation meets which, and what is refused
- `across_prompts`: token complexity over several prompts
- `sentences`: what a comparison says, in words
- `compare`: the program
- `tables`: comparison.json for the terminal
- `audit`: stored responses graded again, and where the two graders differ
"""
