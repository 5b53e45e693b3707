"""Istio's rules, written from ``istio-semantics.md`` alone: each of its tables, from YAML to what Envoys are sent."""
