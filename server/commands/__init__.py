"""The subcommands of `mull`. What one needs is imported when it runs, so that all of them start at once."""
