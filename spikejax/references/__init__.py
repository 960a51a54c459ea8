"""Independent solutions that the simulator is tested against. None of them uses the simulator, its gates or
its neurons."""
