"""What in a recipe changes nothing, and what cannot do what it says.

Its modules, in reading order:

- `reading`: a phase, and what its algorithm reads of it
- `unread`: the keys that are read under a condition only
- `contradictions`: the settings that contradict one another
- `complaints`: holds a recipe against both tables
"""
