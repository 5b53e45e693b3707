"""Sources: what happens outside, as events appended to the log."""

from controlplane.sources.appender import Appender
from controlplane.sources.files import FilesSource, Remarks, Statistics
from controlplane.sources.manifests import Manifests, read_manifests

__all__ = ["Appender", "FilesSource", "Manifests", "Remarks", "Statistics", "read_manifests"]
