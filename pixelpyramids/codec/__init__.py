"""The lossless codec: integers only, no torch."""
