"""Rows into Envoy's messages, each encoded once, when it changes."""

from controlplane.translate.graph import Translation, declare_translation
from controlplane.translate.resource import Resource, TypeUrl
from controlplane.translate.secret import with_private_key

__all__ = ["Resource", "Translation", "TypeUrl", "declare_translation", "with_private_key"]
