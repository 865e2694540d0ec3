"""Data connector and webhooks that ProsperStack calls when a subscriber starts to cancel."""
