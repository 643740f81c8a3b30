"""Training with several processes: connecting, and agreeing on values."""
