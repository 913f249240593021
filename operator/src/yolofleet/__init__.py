"""The operator of yolofleet: YoloDeployments in, Triton on MIG slices out."""
