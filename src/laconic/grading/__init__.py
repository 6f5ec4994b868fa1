"""From the text of a response to its grade: correct, wrong, no answer, truncated or ungradable.

Its modules, in reading order:

- `thought`: where the thinking of a response ends
- `extraction`: the final answer in the text of a response
- `latex_tables`: the many spellings of LaTeX, Unicode and prose, and the one that replaces them
- `unicode_maths`: mathematics that is written in Unicode, spelled in LaTeX
- `thousands`: which commas of a list belong to its numbers
- `normal_form`: an answer's text put into one plain form
- `numbers`: exact numbers and quantities with units
- `polynomials`: polynomials compared term by term
- `inequalities`: inequalities of one variable as intervals
- `scalar_rules`: rules that compare two answers of one part each
- `composite_rules`: rules that compare answers made of parts
- `rules`: from text to grade, where strings and exact numbers suffice
- `grader`: grading with algebra in child processes, under a hard time limit
- `own`: a user's own grader, a function in a file, under the same limits
- `second_graders`: other graders, for grading stored responses a second time
"""
