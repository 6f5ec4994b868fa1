"""Groups to better weights: one resumable run of a recipe's phases.

Its modules, in reading order:

- `batching`: groups to tensors, and tensors to micro-batches
- `reference_cache`: log-probabilities of a fixed reference, remembered
- `experience`: a step's rollouts, scored once before the update
- `preferences`: pairs of responses, for losses that learn from pairs
- `estimators`: each algorithm's advantages
- `algorithms`: every algorithm as a row of one table
- `check`: is a recipe valid, and what its phases' names stand for
- `updates`: one step's update of policy and critic
- `phase_end`: when a phase ends, and what it hands on
- `run_directory`: the folder that holds everything a run is
- `checkpoints`: what a checkpoint holds, which stay, and how weights come back
- `curriculum`: which problems a phase's steps take, and which of their groups train
- `phase`: one phase, step by step
- `run`: a recipe's phases, one after the other
- `measure_run`: base and phases measured on the reported set, and compared
"""
