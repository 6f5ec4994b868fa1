"""A phase of a recipe as a run of verl, which draws, scores and updates on many devices, while grades and rewards are ours.

`laconic export verl` writes a folder. In verl's processes `doors` is loaded from it. What both sides share stands first.

Its modules, in reading order:

- `channel`: the one number per response that verl carries from the reward to the advantages
- `demands`: what a phase's terms and algorithm must know of a response, and where they learn it
- `exported_phase`: the file that tells verl's processes which phase they serve
- `scoring`: in verl's reward workers, from a response to its number
- `step_advantages`: in verl's trainer, from a step's numbers to rewards and advantages
- `doors`: the classes and functions that verl loads: reward manager, advantage estimator, checkpoint callback
- `refusals`: what verl cannot do, and what it does otherwise
- `settings`: a phase as verl's settings
- `problem_rows`: the problems as verl's parquet files
- `export`: the program
"""
