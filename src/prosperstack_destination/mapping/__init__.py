"""Mapping: pure functions from traits, rules and a catalog to desired properties.

The package uses neither HTTP nor SQL nor the time of day.
"""
