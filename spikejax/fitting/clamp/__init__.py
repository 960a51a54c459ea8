"""Neurons fitted to current-clamp recordings."""
