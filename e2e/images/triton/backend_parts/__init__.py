"""What the python-based backends share; in the image a package of its Python."""
