"""A recipe as data: one typed tree, the only place that holds defaults.

Its modules, in reading order:

- `defaults`: defaults that a recipe, a command and a function share
- `node`: what every table of a recipe is, the kinds of values it holds, and making one from plain values
- `policy`: the model that is trained
- `solver`: how problems become graded attempts: prompt, sampler, grader
- `problems`: where problems come from, and which of them a phase trains on
- `rewards`: what each response earns
- `algorithm`: the algorithm and its levers
- `optimizer`: how a step's rollouts become updates
- `phase`: a phase, made of all these, and when it ends
- `evaluation`: how the watched and the reported set are measured
- `recipe`: the whole tree
- `serving`: the file of a gateway: routes, upstreams, limits
- `sense`: what in it changes nothing or contradicts itself
- `load`: loading it from TOML with overrides, and giving it back as data
- `difference`: the keys at which two resolved recipes differ
- `resumption`: what may change before a run is resumed
"""
