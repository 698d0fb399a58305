"""How near samples are to data: distances and manifolds in the space of features, each with its standard error."""
