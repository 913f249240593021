"""The planner's benchmarks: a published one, size, movement, saturation."""
