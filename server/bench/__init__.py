"""`mull bench`: strategies times budgets over problems with known answers, through a running server."""
