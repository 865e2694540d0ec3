"""Operator actions and queries, shared by the command line, the API and the dashboard."""
