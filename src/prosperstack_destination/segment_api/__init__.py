"""Segment's Public API: connects sources of a Segment workspace to this service."""
