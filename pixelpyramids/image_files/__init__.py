"""Read and write image files and their metadata; plugins for Pillow and zarr."""
