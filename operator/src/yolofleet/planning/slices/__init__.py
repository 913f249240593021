"""What slices there are: their profiles, whose nodes have them, what their link to the host carries."""
