"""Metrics of stylized and translated images."""
