"""The networks of the levels: tensors in, tensors out."""
