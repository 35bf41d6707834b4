"""Webhooks: tells receivers of the states of tasks and runs, out of the store's outbox."""
