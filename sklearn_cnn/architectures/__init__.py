"""Hyperparameters and an image shape become a network."""
