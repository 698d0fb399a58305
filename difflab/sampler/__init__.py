"""Drawing samples: running the chain backwards."""
