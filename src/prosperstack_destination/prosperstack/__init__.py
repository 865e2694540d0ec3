"""Client of ProsperStack's API."""
