"""A served model: the gateway in front of engines, thinking budgets, candidates."""
