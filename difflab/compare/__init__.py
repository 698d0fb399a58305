"""Runs side by side: measurements read back, paired differences, spread between seeds, what is missing, and the text."""
