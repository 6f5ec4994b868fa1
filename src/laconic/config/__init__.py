"""A recipe as data: one typed tree, the only place that holds defaults.

Its modules, in reading order:

- `recipe`: the tree, its checks, and loading it from TOML with overrides
- `difference`: where two JSON trees differ first, named as overrides name it
"""
