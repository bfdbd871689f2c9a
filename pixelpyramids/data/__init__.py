"""Read images as the networks see them, as integers in [0, 2**n_bits); split data sets; cut training crops.

Everything here uses NumPy. A torch DataLoader can wrap it, but is not needed.
"""
