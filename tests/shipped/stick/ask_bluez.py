"""Asks bluetoothd over D-Bus for its objects, as bleak does; prints the interfaces that it has, as JSON."""

import asyncio
import json

from dbus_fast import BusType, Message
from dbus_fast.aio import MessageBus


async def main() -> None:
    bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
    question = Message(
        destination="org.bluez",
        path="/",
        interface="org.freedesktop.DBus.ObjectManager",
        member="GetManagedObjects",
    )
    answer = await asyncio.wait_for(bus.call(question), 60)
    assert answer is not None
    assert answer.error_name is None, answer.error_name
    print(json.dumps(sorted({name for interfaces in answer.body[0].values() for name in interfaces})))


asyncio.run(main())
