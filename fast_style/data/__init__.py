"""Batches of pictures for training."""
