"""Where x_0 comes from: real pictures on a grid of levels, and densities whose entropy is known."""
