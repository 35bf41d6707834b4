"""Drives tasks: the scheduler claims them, `run_task` takes each through one Pulsar job to its end."""
