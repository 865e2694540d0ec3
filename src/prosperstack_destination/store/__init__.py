"""Durable state: accounts, profiles, subscribers, deliveries, mappings and the activity feed.

All SQL is in this package. A transaction is a plain function that takes a SQLAlchemy ``Connection``; `Database`
runs it on SQLite or PostgreSQL.
"""
