"""The checks of doctor. Each looks at what was examined and returns findings.

Its modules, in reading order:

- `recipe`: does the recipe make sense on this machine
- `model`: do the model's files fit one another, this package, and the phases' teachers
- `prompts`: what do the model's prompts look like, and where does its response begin
- `problems`: are the problems sound, and the three sets disjoint
- `probe`: what a probe says about the phases
- `pressure`: where a phase's rewards push length
- `slices`: in which part of the probed problems the model is worst
- `memory`: does every phase fit the device's memory
"""
