"""Several processes that train one model together: what they share out, and what they put together again.

Its modules, in reading order:

- `place`: where a process stands among the others, as its environment says
- `launching`: several processes on this machine, started and ended by the one that a person started
- `endings`: what is said of a process that ended with an error
- `heartbeats`: signs of life between the processes, and the end of all where one has failed
- `membership`: this process as one of a team, from their meeting to their end
- `team`: what the code knows of the processes it runs in; one process is a team of its own
- `processes`: a team of several processes, over torch.distributed
- `joining`: the one place where a process finds out that it is one of several
- `spreading`: the weights of a model, spread over the processes of a team
- `shards`: tensors as files, of which each process writes its share and any number of processes read
- `shared_folder`: whether the processes of several machines see one folder
"""
