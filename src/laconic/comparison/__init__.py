"""Compares evaluation folders and gives a verdict: is the candidate shorter, and as accurate? Needs no torch.

Its modules, in reading order:

- `places`: where the evaluations of a run are
- `stored_figures`: whether the figures of a summary are possible, and those of its samples
- `folders`: evaluation folders, read and checked
- `contenders`: the models, checkpoints or prompts that are compared
- `matching`: which evaluations are compared with each other, and what is refused
- `across_prompts`: token complexity over several prompts
- `figures`: records of what changed from a base to a candidate
- `slices`: the changes on parts of a benchmark, corrected for their number
- `slices_of_one`: parts of what one model was measured on, each beside the rest
- `sentences`: the verdict and the caveats of a comparison in words
- `records`: the record of a whole comparison, written to comparison.json and read back
- `tables`: the tables of a comparison for the terminal
- `compare`: the program
- `audit`: grades stored responses again and lists where the two graders differ
"""
