"""What traits mean to ProsperStack: pure functions from traits, rules and a catalog to desired properties.

Nothing here knows of HTTP, of SQL, or of the time of day.
"""
