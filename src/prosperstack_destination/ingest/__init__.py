"""Receiving: from the bytes that Segment sends to committed calls, and the answers."""
