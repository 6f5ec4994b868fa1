"""The checks of doctor: what was examined in, findings out.

Its modules, in reading order:

- `recipe`: does the recipe make sense on this machine
- `model`: do the model's files fit one another, this package, and the phases' teachers
- `prompts`: what is the model fed, and where does its response begin
- `problems`: are the problems sound, and the three sets apart
- `probe`: what a probe says about the phases
- `memory`: does every phase fit the device's memory
"""
