"""Which Deployments serve one YoloDeployment, and how many replicas sit in each."""
