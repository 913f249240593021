"""A small external metrics API for the bench's HPAs, in the place of KEDA or prometheus-adapter."""
