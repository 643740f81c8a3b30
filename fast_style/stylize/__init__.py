"""Stylize images, videos and data sets with a trained network."""
