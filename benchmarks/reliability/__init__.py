"""What a server withstands, measured: `python -m benchmarks.reliability --help`."""
