"""How a new revision takes over, and whether it does as well as the old one."""
