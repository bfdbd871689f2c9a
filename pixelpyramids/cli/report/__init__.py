"""Pictures and tables for people: what a training, an evaluation or a sample looks like."""
