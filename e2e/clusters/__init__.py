"""The clusters that stories run on: `bare` is made here, `existing` is one that the caller names."""
