"""One process wired together: settings, log, graph, servers, readiness, metrics, shutdown."""
