"""Archives: many images compressed into a folder that knows what it holds, and the work on each of them."""
