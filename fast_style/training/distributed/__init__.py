"""Training with several processes: connecting, agreeing on values, and ending together."""
