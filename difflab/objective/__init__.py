"""What is optimised. What is measured, the bound's own term, is always returned beside it."""
