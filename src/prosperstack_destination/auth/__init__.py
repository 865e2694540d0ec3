"""Authentication: credentials, and the accounts that they open."""
