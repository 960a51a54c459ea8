"""One gradient step of spikejax beside loops written by hand and other libraries: `run`."""
