"""What the service knows, durably: accounts, profiles, the directory of subscribers, problems.

Everything that speaks SQL is here. A unit of work is a plain function that takes a SQLAlchemy ``Connection``
and runs in one transaction; `Database` runs it, on whichever engine there is.
"""
