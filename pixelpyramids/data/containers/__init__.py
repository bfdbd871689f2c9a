"""Where images lie: folders, archives, databases, arrays. Each gives stored entries by index; none decodes an image."""
