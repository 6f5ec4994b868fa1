"""The same rewards, grades and problems inside other people's systems.

Its modules, in reading order:

- `trl`: what a user of TRL calls: `reward`, `dataset` and `callback`
- `in_trl`: what these three are made of
- `verl`: a phase of a recipe as a run of verl
- `lm_eval`: problems as a task of lm-evaluation-harness, graded by our grader
- `inspect_logs`: an evaluation folder as a log of inspect_ai
"""
