"""Where the chain runs: the data itself, or z, and what a bound on z lacks to be a bound on x."""
