"""Who sends a request, and what they may do.

`authentication` stands before all routes and puts an `Identity` on the request; `authenticator` is the
protocol of the ways to find it out, each a module of its own; `permissions` decides what an identity may do,
in one function.
"""
