"""From problems to graded and paid groups.

Its modules, in reading order:

- `solver`: problems and a sampler to groups: render, sample, grade
- `paying`: what each rollout of a group earns
- `metrics`: groups summed up for the log
- `rows`: the stored response: one record, one writer, one reader
- `log`: attempts that outlive a kill, streamed to a file
- `sources`: where a phase's rollouts come from: the policy, a file, worked solutions
"""
