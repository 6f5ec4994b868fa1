"""From an address to problems: files, generators, datasets and benchmarks.

Its modules, in reading order:

- `address`: reads an address, which consists of a name, a count and other arguments
- `records`: one record of a file, checked and turned into a problem, and back
- `forgotten`: refuses problems made from requests that were forgotten
- `made_from_traffic`: remembers what was made of such problems, for those who are forgotten later
- `thoughts`: published solutions as responses of a model that thinks
- `files`: JSON lines and parquet
- `gym_grading`: tasks of reasoning-gym whose answers cannot be graded by comparison
- `generated`: reasoning-gym tasks, the embedded reasoner's families, and those in plain English
- `hub`: datasets of the Hugging Face hub
- `columns`: how a row of a published dataset becomes a problem
- `benchmarks`: public benchmarks by name
- `load`: loads the problems of an address of any kind, and writes problems to a file
- `sets`: the three sets of a recipe, which share no problem
- `leakage`: finds training problems that occur among the reported ones
"""
