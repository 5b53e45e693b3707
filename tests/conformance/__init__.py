"""Gateway API's rules, read from the specification alone, against what the whole pipeline makes of manifests."""
