"""`kubectl yolofleet`: one file per verb; a verb has `arguments(parser)` and `run(told, session)`."""
