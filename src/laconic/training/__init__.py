"""Trains a model on groups: one resumable run of a recipe's phases.

Its modules, in reading order:

- `batching`: turns groups into tensors, and tensors into micro-batches
- `experience`: a step's rollouts with their scores, computed once before the update; those of the reference are kept
- `preferences`: pairs of responses, for losses that learn from pairs
- `estimators`: how each algorithm computes its advantages
- `algorithms`: every algorithm as a row of one table
- `check`: is a recipe valid, and what do the names in its phases mean
- `updates`: one step's update of policy and critic
- `phase_end`: when a phase ends, and what it hands on
- `checkpoint_files`: the files of checkpoints: written, checked, read back
- `run_directory`: the folder that holds all files of a run
- `checkpoints`: what a checkpoint holds, which ones are kept, and how weights are restored
- `curriculum`: which problems a phase's steps take, and which of their groups train
- `time_left`: how long the run still takes, from the work that is left and the pace of the newest steps
- `phase`: one phase, step by step
- `run`: trains a recipe's phases, one after the other
- `measure_run`: measures base and phases on the report set, and compares them
"""
