"""Members as files: synthetic ones, and the CSV that unions send."""
