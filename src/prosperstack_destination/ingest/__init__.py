"""What Segment sends: its bytes, its keys, its calls, and the answers that it understands."""
