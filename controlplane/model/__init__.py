"""Frozen rows: the events, the objects as decoded, and the intermediate rows between objects and Envoy."""
