"""What in a recipe changes nothing, and what cannot do what it says.

Its modules, in reading order:

- `reading`: a phase, and what its algorithm reads of it
- `unread`: the keys that are read under a condition only
- `contradictions`: the settings that contradict one another
- `unusual`: the levers that are the first to blame where training diverges
- `complaints`: holds a recipe against both tables
"""
