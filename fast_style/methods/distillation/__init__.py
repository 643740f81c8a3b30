"""Distillation: how the loss network `builtin` was made."""
