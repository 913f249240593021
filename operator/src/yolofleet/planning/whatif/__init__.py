"""What would be: fleets in files and snapshots of clusters, planned by the same code without touching anything."""
