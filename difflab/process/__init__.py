"""The forward process q and the known distribution it ends in."""
