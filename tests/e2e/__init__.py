"""The whole of it: a real control plane, a real Envoy, real sockets and files."""
