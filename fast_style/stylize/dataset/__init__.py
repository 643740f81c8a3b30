"""Stylize a whole data set with many workers."""
