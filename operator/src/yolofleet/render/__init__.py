"""From plans to manifests and status; pure."""
