"""Looking for what is wrong with a configuration, and with the machine that it is for."""
