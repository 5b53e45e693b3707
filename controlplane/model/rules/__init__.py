"""The rules of the APIs that span fields: what CRDs say in CEL, Kubernetes and Istio in code.

Rules are small functions over one struct, in tables by struct; a ``RuleSet`` walks an object and applies them wherever such a
struct stands. A rule never repeats what a field's own type says.
"""

from controlplane.model.rules.tables import RULES, UNSUPPORTED, WARNINGS

__all__ = ["RULES", "UNSUPPORTED", "WARNINGS"]
