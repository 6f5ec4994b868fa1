"""From problems to graded and paid groups.

Its modules, in reading order:

- `rubric`: a model that judges, for answers that cannot be compared
- `graders`: the grader that a recipe or a command names
- `solver`: turns problems and a sampler into groups: it renders, samples and grades
- `forcing`: what a response would have answered, had its thinking been cut
- `paying`: what each rollout of a group earns
- `metrics`: groups summed up for the log
- `rows`: the stored response, with its one record, one writer and one reader
- `seconds`: how long responses took, chunk by chunk
- `log`: attempts that are streamed to a file and so survive a kill
- `worked_solutions`: the problems' own solutions as responses to learn from
- `given_pairs`: pairs of responses of which people preferred one
- `sources`: where a phase's rollouts come from, such as the policy, a file, or worked solutions
"""
