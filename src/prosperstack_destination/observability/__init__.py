"""Observability: metrics, the activity feed, recent calls and traces."""
