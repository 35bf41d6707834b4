"""The domain: tasks, their states, and what makes a task valid. Imports nothing of the rest."""
