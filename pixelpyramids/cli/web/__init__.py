"""The page of `serve`: its layout, the work behind it, and the processes that do this work."""
