"""What there is to see of a running service: metrics for machines, a feed of events for people."""
