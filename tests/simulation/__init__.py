"""Whole deliveries in memory, under a network and a relay that fail at every point, by seed."""
