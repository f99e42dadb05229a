"""Test-time-compute strategies: pure search over a `Run`, one file each, no I/O of their own."""
