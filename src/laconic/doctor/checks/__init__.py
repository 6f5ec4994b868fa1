"""The checks of doctor: what was examined in, findings out.

Its modules, in reading order:

- `recipe`: does the recipe make sense on this machine
- `model`: do the model's files fit one another, and this package
- `prompts`: what is the model fed, and where does its response begin
- `problems`: are the problems sound, and the three sets apart
- `teacher`: is there somebody to learn from
- `probe`: what a probe says about the phases
- `memory`: does every phase fit the device's memory
"""
