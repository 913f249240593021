"""A cluster of our own on this machine: Kubernetes built from Go modules, in private namespaces without an uplink."""
