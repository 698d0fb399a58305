"""The variance of the reverse steps."""
