"""Labelled pictures of coloured shapes on clutter, and the recipe of the small detector trained on them."""
