"""The benchmark harness: figures that can be laid beside those that the field publishes."""
