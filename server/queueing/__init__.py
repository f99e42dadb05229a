"""Admission: who is served now, who waits, who is refused."""
