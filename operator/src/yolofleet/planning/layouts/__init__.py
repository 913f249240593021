"""Where slices lie on GPUs: what is legal, who sits where, and how one layout becomes another."""
