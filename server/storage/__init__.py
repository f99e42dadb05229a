"""Where several servers keep what they share: one PostgreSQL database."""
