"""``gateway simulate``: stand-ins for what a desk does not have."""

import asyncio
import contextlib
from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.simulate_ble import ble
from gateway.commands.simulate_camera import camera
from gateway.commands.simulate_cloud import edge, provisioning
from gateway.errors import OperatorError
from gateway.simulators.devices.mqtt_messages import Form

app = typer.Typer(help="Stand-ins for what a desk does not have: an IoT Hub, devices.", no_args_is_help=True)
devices = typer.Typer(help="Devices that send pictures as real ones do.", no_args_is_help=True)
app.add_typer(devices, name="device")
devices.command()(ble)
app.command()(edge)
app.command()(provisioning)
devices.command()(camera)


@app.command()
def hub(
    *,
    directory: Annotated[Path, typer.Option("--dir", help="Where its certificates and keys are kept.")] = Path(
        "data/hub"
    ),
    device: Annotated[list[str] | None, typer.Option(help="A device id it knows; may be repeated.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of its TLS listener; 0: any free one.")] = 18883,
    proxy_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of its proxy, which gateways connect to.")
    ] = 18888,
    view_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of its page and JSON view.")] = 18080,
    record: Annotated[Path | None, typer.Option(help="Append every message to this file, as JSON lines.")] = None,
) -> None:
    """Run an IoT Hub stand-in that the real SDK accepts; prints the lines that point a gateway at it."""
    from gateway.simulators.iot_hub.hub import HubDescription, HubOptions, run_hub

    def announce(description: HubDescription) -> None:
        typer.echo(description.text())
        typer.echo("\nPaste the lines of a device into another terminal, then: make run")
        typer.echo("Ctrl-C stops it.")

    options = HubOptions(
        directory=directory.absolute(),
        device_ids=tuple(device or ("gw1",)),
        port=port,
        proxy_port=proxy_port,
        view_port=view_port,
        record_file=record,
    )
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(run_hub(options, announce=announce))
    except OSError as error:
        raise OperatorError(
            f"the stand-in can't start ({error.strerror}): does one run already? "
            "Choose other ports (--port, --proxy-port, --view-port) or another --dir"
        ) from error


@devices.command()
def http(
    *,
    url: Annotated[str, typer.Option(help="The gateway's HTTP listener.")] = "http://127.0.0.1:8080",
    device_id: Annotated[str, typer.Option(help="Who it says it is.")] = "cam-1",
    count: Annotated[int, typer.Option(min=1, max=1_000_000, help="Pictures to send.")] = 1,
    interval: Annotated[float, typer.Option(min=0, max=86_400, help="Seconds between two pictures.")] = 1.0,
    tries: Annotated[int, typer.Option(min=0, help="Give a picture up after so many tries; 0: never.")] = 5,
    picture: Annotated[
        list[Path] | None, typer.Option(help="A picture to send; may be repeated. Without: fruit is drawn.")
    ] = None,
) -> None:
    """Post pictures over HTTP like a camera that keeps each until it is answered."""
    from gateway.simulators.devices.http_device import Answer, HttpDevice, HttpDeviceOptions, sentence
    from gateway.simulators.devices.pictures import pictures

    def tell(answer: Answer) -> None:
        typer.echo(f"{device_id} picture {answer.submission_id}: {sentence(answer)}")

    options = HttpDeviceOptions(url=url, device_id=device_id, count=count, interval_s=interval, tries_max=tries)
    accepted = HttpDevice(options, payloads=pictures(picture or ()), tell=tell).run()
    typer.echo(f"{device_id}: {accepted} of {count} accepted")
    if accepted < count:
        raise typer.Exit(1)


@devices.command()
def mqtt(
    *,
    url: Annotated[
        str, typer.Option(help="The gateway's listener or a broker; mqtts:// for TLS.")
    ] = "mqtt://127.0.0.1:1883",
    device_id: Annotated[str, typer.Option(help="Who it says it is.")] = "cam-1",
    count: Annotated[int, typer.Option(min=1, max=1_000_000, help="Pictures to send.")] = 1,
    interval: Annotated[float, typer.Option(min=0, max=86_400, help="Seconds between two pictures.")] = 1.0,
    form: Annotated[Form, typer.Option(help="How a picture is packed.")] = Form.RAW,
    qos: Annotated[int, typer.Option(min=0, max=2, help="0 is not acknowledged; 1 is usual.")] = 1,
    picture: Annotated[
        list[Path] | None, typer.Option(help="A picture to send; may be repeated. Without: fruit is drawn.")
    ] = None,
    chunk_bytes: Annotated[int, typer.Option(min=1, max=65_536, help="Data of one chunk (--form chunks).")] = 512,
    wait: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds to wait for each answer.")] = 30.0,
    username: Annotated[str, typer.Option(help="Login, if the other side asks for one.")] = "",
    password: Annotated[str, typer.Option(envvar="MQTT_PASSWORD", help="Its password.")] = "",
    ca_file: Annotated[str, typer.Option(help="PEM of the authority of the other side's certificate.")] = "",
) -> None:
    """Publish pictures over MQTT like a camera, and print each acknowledgement and result."""
    from gateway.simulators.devices.mqtt_camera import CameraOptions, MqttCamera
    from gateway.simulators.devices.pictures import pictures

    options = CameraOptions(
        url=url,
        device_id=device_id,
        count=count,
        interval_s=interval,
        form=form,
        qos=qos,
        chunk_bytes=chunk_bytes,
        wait_s=wait,
        username=username,
        password=password,
        ca_file=ca_file,
    )
    camera = MqttCamera(options, pictures=pictures(picture or ()), tell=typer.echo)
    if not camera.run().all_well:
        raise typer.Exit(1)
