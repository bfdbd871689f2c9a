"""Images as the networks see them: files to integers in [0, 2**n_bits), splits, and training crops.

Everything here is NumPy: a loader of torch's may wrap it, and nothing needs one.
"""
