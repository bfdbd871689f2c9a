"""Training: levels, run directories, validation, evaluation and export."""
