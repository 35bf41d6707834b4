"""What expands workflows into tasks, each kind of workflow by its own engine."""
