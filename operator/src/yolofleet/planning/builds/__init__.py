"""The life of an engine: where and when it is built, from which timings, mended, swept."""
