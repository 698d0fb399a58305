"""Run directories as one self-contained HTML page: what is in their files, and how a browser shows it."""
