"""A served model: the gateway in front of engines, thinking budgets, candidates.

Its modules, in reading order:

- `denials`: requests that get no response, in the shape of OpenAI's errors
- `callers`: who may ask, and how much
- `demands`: what a client asks for, checked, and reduced to what an upstream may see
- `assignment`: which users get a candidate
- `events`: replies and streams, read for their figures
- `connections`: those on both sides of the gateway
- `upstreams`: the endpoints behind the gateway, and when another one is asked
- `routing`: served names, and who answers for each
- `addresses`: upstreams as a command names them
- `metrics`: figures for Prometheus
- `feedback`: what users and experts say of responses
- `gateway`: one request on its way from a client to an upstream and back
- `program`: the application with all its addresses, and the server
- `engines`: starting the engine that draws: vLLM, transformers serve, or our own server
- `budgets`: a thinking budget, and how one is chosen from a budget curve
- `cutting`: a thinking budget on an upstream that cannot keep it: cut the thought and ask for the answer
- `serving_command`: what `laconic serve` does with its options
- `local_server`: an OpenAI-compatible server of a small model, drawn on this machine
"""
