"""The page of `serve`: its layout (layout.py), the work behind it (tasks.py), and the processes that do it (jobs.py)."""
