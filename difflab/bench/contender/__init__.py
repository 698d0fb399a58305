"""Who is measured: one file for each, and what a user of it would run."""
