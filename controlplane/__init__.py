"""A Gateway API control plane for Envoy that remembers everything."""
