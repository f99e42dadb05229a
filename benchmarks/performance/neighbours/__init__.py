"""What mull is measured beside."""
