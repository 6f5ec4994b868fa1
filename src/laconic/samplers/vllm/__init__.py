"""vLLM as the engine of rollouts: a server of its own, which gets the policy's weights before it draws.

Its modules, in reading order:

- `wire`: a request by token ids, and the response in its reply
- `server`: the doors of a vLLM server, and what it says of itself
- `starting`: a server that is started for a run, and ended with it
- `handover`: the policy's weights on their way to the server
- `proof`: what the server computes, beside what the trainer computes
- `sampler`: the sampler that draws from the server
- `engines`: the engine that a phase asks for
"""
