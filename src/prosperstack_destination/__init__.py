"""A Segment destination for ProsperStack: traits become, and stay, subscribers' custom properties."""

__version__ = "0.1.0"
