"""The stand-in's proxy as a long line."""

import asyncio

from gateway.simulators.iot_hub.connect_proxy import ConnectProxy

DELAY_S = 0.1
CHUNKS = [bytes([number]) * 1000 for number in range(20)]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(700):
        writer.write(data)
    writer.close()


async def test_bytes_are_under_way_for_the_delay_each_way_and_come_out_in_order() -> None:
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    proxy = ConnectProxy(target_host="127.0.0.1", targets={("hub", 8883): port})
    proxy.one_way_delay_s = DELAY_S
    await proxy.start("127.0.0.1", 0)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"CONNECT hub:8883 HTTP/1.1\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        began_s = loop.time()
        for chunk in CHUNKS:
            writer.write(chunk)
            await asyncio.sleep(0.005)
        first_s = None
        echoed = b""
        while len(echoed) < 20_000:
            echoed += await reader.read(1000)
            first_s = first_s or loop.time() - began_s
        assert first_s is not None
        assert first_s >= 2 * DELAY_S
        assert echoed == b"".join(CHUNKS)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
    finally:
        await proxy.stop()
        server.close()
