"""Networks of the levels: tensors in, tensors out."""
