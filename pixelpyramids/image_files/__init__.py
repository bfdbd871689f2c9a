"""Image files: reading and writing them, their metadata, and plugins for Pillow and zarr."""
