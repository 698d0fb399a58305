"""The last step of the chain, p(x_0|x_1)."""
