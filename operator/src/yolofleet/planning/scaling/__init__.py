"""How many replicas: what they were seen to do, what one carries, what will arrive, and the count that follows."""
