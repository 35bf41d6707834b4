"""Live views: streams of what happens to tasks and runs, as it happens.

`hub` wakes who follows something and lets those who stand at the same place share one read; `task_stream` and
`run_stream` say what comes after a place, `feed` what changes among all tasks, `response` sends it as long as
there is somebody to read it, and `endpoints` has the routes.
"""
