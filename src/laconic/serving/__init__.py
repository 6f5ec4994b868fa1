"""A served model: the gateway in front of engines, thinking budgets, candidates.

- `feedback_routes`: what users say of responses
- `labelling`: the page on which experts label stored responses
"""
