"""Engines that draw responses to token ids or to the turns of a conversation.

Its modules, in reading order:

- `protocol`: a request, and the interface of every engine
- `drawing`: from logits to tokens, by one uniform number per row and step
- `kernels`: attention over rows of different length on CUDA
- `cache`: keys and values of rows of different length, in pages
- `decoders`: one step of decoding, by the model's own modules or by fused ones
- `slots`: the slots in which rows are written, and one step of all live rows
- `lanes`: the rows split over the cores of a CPU, a process of one thread for each
- `local`: the local sampler: any Hugging Face causal LM, in this process
- `endpoints`: where a model is served: its address, its key, and the facts known about it here
- `fetching`: one reply of a server, bounded in size and time
- `refusals`: what an endpoint says where it gives no response
- `counting`: the length of a response, where the server's count may be impossible
- `wire`: the requests to an OpenAI-compatible endpoint, and its replies
- `pacing`: when to send the next request to a server that others use too
- `http`: the sampler that sends requests to an endpoint
- `vllm`: a vLLM server that draws a run's rollouts, with the policy's weights
"""
