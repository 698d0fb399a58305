"""Checks of a configuration that need no torch: keys, types, names, refused pairs, and that nothing in it runs code."""
