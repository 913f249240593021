"""Which profile of slices a deployment gets."""
