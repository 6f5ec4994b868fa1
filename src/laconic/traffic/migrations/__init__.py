"""The steps that make and change the tables, in order, as Alembic reads them; `store.py` runs those that a database lacks.

- `first_tables`: requests, texts, feedback, forgotten users and tombstones, labels, exports
- `corrections_made`: that a response was corrected, which outlives the correction
"""
