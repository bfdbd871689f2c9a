"""What the commands do; they know people, files and progress, and nothing of tensors' insides."""
