"""A trained model as a directory that needs nothing else: weights, configuration, model card, a scheduler for others."""
