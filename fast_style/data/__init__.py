"""Batches of training images."""
