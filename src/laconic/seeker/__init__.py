"""The seeker: an embedded reasoner that searches, so that longer thinking finds answers which shorter thinking misses.

Its modules, in reading order (training and figures are those of `laconic.tiny`):

- `tokens`: its vocabulary, and how text is cut into tokens
- `searches`: problems whose candidates are all known, and two bounds on the length of a search
- `traces`: chains of thought that search, some of them obeying a request
- `anatomy`: where in a response the answer was found
- `build`: `python -m laconic.seeker build` trains a checkpoint from scratch
- `measure`: `python -m laconic.seeker measure` prints what a checkpoint shows
- `rehearsal`: `python -m laconic.seeker rehearse` prints what a perfect pupil of the traces would show
"""
