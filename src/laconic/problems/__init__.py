"""From an address to problems: files, generators, datasets and benchmarks.

Its modules, in reading order:

- `address`: the address itself: name, count and other arguments
- `records`: one record of a file, checked and turned into a problem, and back
- `files`: JSON lines and parquet
- `generated`: reasoning-gym tasks and the embedded reasoner's families
- `hub`: datasets of the Hugging Face hub
- `columns`: how a row of a published dataset becomes a problem
- `benchmarks`: public benchmarks by name
- `load`: an address to problems, whatever its kind; writing them back
- `sets`: the three sets of a recipe, which never meet
- `leakage`: whether a training problem stands among the reported ones
"""
