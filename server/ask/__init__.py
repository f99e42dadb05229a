"""`mull ask`: one question to a running server, its answer and its search on the terminal."""
