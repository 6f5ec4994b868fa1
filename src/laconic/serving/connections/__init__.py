"""The connections on both sides of the gateway.

Its modules, in reading order:

- `client_side`: what the gateway reads of a client's request, and how it replies
- `upstream_side`: the connections to an upstream, kept from request to request
"""
