"""Which t the training steps see."""
