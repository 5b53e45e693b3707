"""Rows into Envoy's messages, each encoded once, when it changes."""

from controlplane.translate.graph import Translation, declare_translation
from controlplane.translate.held import clusters_of_route
from controlplane.translate.resource import Resource, TypeUrl
from controlplane.translate.secret import with_private_key

__all__ = ["Resource", "Translation", "TypeUrl", "clusters_of_route", "declare_translation", "with_private_key"]
