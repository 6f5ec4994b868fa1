"""The text of a response to its grade: correct, wrong, no answer, truncated or ungradable.

Its modules, in reading order:

- `extraction`: the final answer in the text of a response
- `latex_tables`: the many spellings of LaTeX, Unicode and prose, and the one that is kept
- `normal_form`: an answer's text put into one plain form
- `numbers`: exact numbers and quantities with units
- `polynomials`: polynomials compared term by term
- `inequalities`: inequalities of one variable as intervals
- `scalar_rules`: rules that compare two answers as one thing each
- `composite_rules`: rules that compare answers made of parts
- `rules`: text to grade, as far as strings and exact numbers reach
- `pool`: grading with algebra in child processes, under a hard time limit
- `second_graders`: other graders, to look at stored responses once more
"""
