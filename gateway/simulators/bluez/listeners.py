"""Who has the notifications of a characteristic: D-Bus clients that are signalled, or one that acquired a socket.

As bluetoothd does it: each D-Bus client that called StartNotify has every notification signalled once for itself, to
everybody (two clients: two signals, bleak issue 2002), and stops counting when its bus connection closes.
"""

from dbus_fast import Variant

from gateway.simulators.bluez.acquired import AcquiredSocket
from gateway.simulators.bluez.objects import CHARACTERISTIC, ObjectTree


class Listeners:
    """By path of the characteristic."""

    def __init__(self, objects: ObjectTree) -> None:
        self._objects = objects
        self._clients: dict[str, set[str]] = {}
        self._sockets: dict[str, AcquiredSocket] = {}

    @property
    def count(self) -> int:
        """How many (client, characteristic) pairs have notifications on."""
        return sum(len(clients) for clients in self._clients.values()) + len(self._sockets)

    @property
    def backlog(self) -> int:
        """How many values the fullest socket holds back."""
        return max((one.backlog for one in self._sockets.values()), default=0)

    def on(self, path: str) -> bool:
        """Whether anybody listens."""
        return bool(self._clients.get(path)) or path in self._sockets

    def start(self, path: str, client: str) -> None:
        """Signal notifications for a client."""
        self._clients.setdefault(path, set()).add(client)
        self._tell(path)

    def stop(self, path: str, client: str) -> None:
        """End that."""
        self._clients.get(path, set()).discard(client)
        self._tell(path)

    def acquired(self, path: str, socket: AcquiredSocket) -> None:
        """Send notifications to a socket."""
        self._sockets[path] = socket
        self._tell(path)

    def is_acquired(self, path: str) -> bool:
        return path in self._sockets

    def released(self, path: str) -> None:
        """Take note that the socket's client hung up."""
        self._sockets.pop(path, None)
        self._tell(path)

    def hand_over(self, path: str, value: bytes, *, times: int = 1) -> None:
        """Give a value to all that listen, so often."""
        for _ in range(times):
            for _ in self._clients.get(path, ()):
                self._objects.change(path, CHARACTERISTIC, Value=Variant("ay", value))
            if path in self._sockets:
                self._sockets[path].send(value)

    def link_lost(self, device: str) -> None:
        """Close a device's sockets. Clients stay: BlueZ turns their notifications on again at the next link."""
        for path in [path for path in self._sockets if path.startswith(f"{device}/")]:
            self._sockets.pop(path).close()
            self._tell(path)

    def client_gone(self, client: str) -> None:
        """Forget a client whose bus connection closed."""
        for path, clients in self._clients.items():
            if client in clients:
                clients.discard(client)
                self._tell(path)

    def clear(self) -> None:
        """Forget everybody."""
        self._clients.clear()
        for one in self._sockets.values():
            one.close()
        self._sockets.clear()

    def forget_below(self, path: str) -> None:
        """Forget who listens to a device that is removed."""
        for one in [known for known in self._clients if known.startswith(f"{path}/")]:
            del self._clients[one]

    def _tell(self, path: str) -> None:
        notifying, acquired = self.on(path), path in self._sockets
        self._objects.change(
            path, CHARACTERISTIC, Notifying=Variant("b", notifying), NotifyAcquired=Variant("b", acquired)
        )
