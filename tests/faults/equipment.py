"""What a fault works on besides the gateway and the hub, and how a machine says that it can't have it."""

from enum import Enum, auto


class Equipment(Enum):
    """What has to be built for a fault."""

    DISK = auto()  # root, loop devices, ext4
    SHIM = auto()  # a C compiler
    RESOLVER = auto()  # root, mount namespaces


class Impossible(RuntimeError):
    """This machine or user can't build it; the text says why, and names a package that is missing as such."""
