"""Laconic's rewards in TRL's `GRPOTrainer` and `RLOOTrainer`.

TRL draws the responses and turns rewards into advantages. It calls a reward function in every process with the responses of that
process, as token ids, and with the columns of the data set. Its modules, in reading order:

- `rows`: problems as a data set whose prompts TRL renders as our solver does
- `settings`: what the trainer is set to, and which settings a reward of ours cannot serve
- `doubts`: rewards and settings that pay something else than what was probably meant
- `calls`: one call of a reward function as graded groups, whole ones, gathered from all processes
- `reward_function`: a reward of ours as the function that TRL calls; its memory is part of the trainer's state
- `token_log`: the callback that logs tokens by grade, and checks the trainer before it draws anything
"""
