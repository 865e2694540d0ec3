"""Segment from the other side: its Public API, by which a source is connected to this service from here."""
