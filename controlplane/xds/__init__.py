"""Delta xDS: the protocol as a machine without I/O, and the gRPC server around it. The contract is in README.md."""

from controlplane.xds.csds import ClientStatus, everyone, this_machine
from controlplane.xds.errors import XdsError
from controlplane.xds.events import (
    DeliveryResumed,
    DeliveryWithheld,
    Event,
    OnEvent,
    ProxyAcknowledged,
    ProxyConnected,
    ProxyDisconnected,
    ProxyRejected,
    ResourceRejected,
)
from controlplane.xds.health import Health
from controlplane.xds.identity import IdentityRule
from controlplane.xds.limits import Limits
from controlplane.xds.machine import Machine
from controlplane.xds.node import Locality, Node
from controlplane.xds.rejection import RejectedRoute
from controlplane.xds.scope import ClientView
from controlplane.xds.server import XdsServer
from controlplane.xds.settings import Settings
from controlplane.xds.tables import Resolve, Resource
from controlplane.xds.tls import Certificates, TlsFileError, TlsFiles
from controlplane.xds.views import Assignment, Change, ClientChange, Views

__all__ = [
    "Assignment",
    "Certificates",
    "Change",
    "ClientChange",
    "ClientStatus",
    "ClientView",
    "DeliveryResumed",
    "DeliveryWithheld",
    "Event",
    "Health",
    "IdentityRule",
    "Limits",
    "Locality",
    "Machine",
    "Node",
    "OnEvent",
    "ProxyAcknowledged",
    "ProxyConnected",
    "ProxyDisconnected",
    "ProxyRejected",
    "RejectedRoute",
    "Resolve",
    "Resource",
    "ResourceRejected",
    "Settings",
    "TlsFileError",
    "TlsFiles",
    "Views",
    "XdsError",
    "XdsServer",
    "everyone",
    "this_machine",
]
