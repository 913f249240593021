"""The resources of yolofleet.dev/v1alpha1 and the documents that operator and builder exchange; no I/O."""

GROUP = "yolofleet.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
