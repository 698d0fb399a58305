"""What can be said of a data set without a model: does a bound on its held-out examples estimate a likelihood?"""
