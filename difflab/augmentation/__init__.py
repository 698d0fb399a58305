"""What training examples are turned into before a step sees them."""
