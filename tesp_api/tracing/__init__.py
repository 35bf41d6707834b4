"""Traces: what happened to a task or run, as spans, made of what the store has when it has ended.

Nothing is kept for them while a task runs, and nothing is done where `tracing.url` is not set. Ids of spans
follow from those of tasks, so it does not matter which server makes them, or how often.
"""
