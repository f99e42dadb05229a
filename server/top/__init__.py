"""`mull top`: what a running server does, from its own API."""
