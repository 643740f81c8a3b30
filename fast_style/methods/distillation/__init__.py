"""Distillation: the training that made the loss network `builtin`."""
