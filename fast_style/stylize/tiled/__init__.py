"""Stylize images of any size in bounded memory."""
