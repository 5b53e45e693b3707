"""The rules of the APIs that span fields: what CRDs say in CEL and Kubernetes in code.

Rules are small functions over one struct, in tables by struct; ``broken_rules`` walks an object and applies them wherever
such a struct stands. A rule never repeats what a field's own type says.
"""

from controlplane.model.rules.broken import broken_rules

__all__ = ["broken_rules"]
