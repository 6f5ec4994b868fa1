"""From stored traffic to problems and preferences for the next training.

Its modules, in reading order:

- `questions`: the questions that users asked, with responses and feedback
- `votes`: the answers of several responses, counted
- `golds`: what is taken for the right answer, and how sure that is
- `problems`: the program that makes problems of questions
- `pairs`: the program that makes pairs of responses of which one is preferred
- `labelling`: the program that says which responses to label next
"""
