"""Folders, archives, databases and arrays of images: each gives stored entries by index, and none decodes an image."""
