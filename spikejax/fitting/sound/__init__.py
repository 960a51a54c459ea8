"""Receptor neurons fitted to sound and spikes."""
