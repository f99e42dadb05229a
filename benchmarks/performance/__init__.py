"""How near mull is to what its engine can give."""
