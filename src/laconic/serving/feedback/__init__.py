"""What people say of responses: users of the gateway, and experts on a page of their own machine.

Its modules, in reading order:

- `feedback_routes`: what users say of responses
- `labelling`: the page on which experts label stored responses
"""
