"""What one slice serves of a deployment, by curves that were measured or estimated, and how Triton is run there."""
