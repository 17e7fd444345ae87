"""``gateway simulate device camera``: a camera that is asked, with every login and awkward form."""

import asyncio
import contextlib
import hashlib
import json
import ssl
from pathlib import Path
from typing import Annotated

import typer

from gateway.errors import OperatorError
from gateway.simulators.devices.snapshot_camera import Auth, Form, SnapshotCamera, SnapshotCameraOptions


def camera(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free one.")] = 8090,
    form: Annotated[Form, typer.Option(help="How its answers are written.")] = Form.PLAIN,
    auth: Annotated[Auth, typer.Option(help="The login that it asks for.")] = Auth.NONE,
    username: Annotated[str, typer.Option(help="The login's name.")] = "admin",
    password: Annotated[str, typer.Option(envvar="CAMERA_PASSWORD", help="The login's password.")] = "simulated",  # noqa: S107
    stale_after: Annotated[int, typer.Option(min=0, help="A nonce is stale after so many pictures; 0: never.")] = 0,
    tls: Annotated[bool, typer.Option("--tls", help="https, with a certificate of its own.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, help="In the lines to paste: seconds between two pictures.")] = 5,
    picture: Annotated[
        list[Path] | None, typer.Option(help="A picture to show; may be repeated. Without: fruit is drawn.")
    ] = None,
    directory: Annotated[Path, typer.Option("--dir", help="Where its password file and certificate are kept.")] = Path(
        "data/camera"
    ),
) -> None:
    """Run a camera that only answers a snapshot URL; prints the line that makes a gateway ask it."""
    from gateway.simulators.devices.pictures import pictures

    entry: dict[str, object] = {"device_id": "simulated-camera", "interval_s": interval}
    folder = directory.absolute()
    if auth is not Auth.NONE:
        entry |= {"username": username, "password_file": str(_password_file(folder, password))}
    context = None
    if tls:
        context, entry["fingerprint"] = _own_certificate(folder)
    options = SnapshotCameraOptions(
        port=port,
        form=form,
        auth=auth,
        username=username,
        password=password,
        nonce_uses=stale_after,
        tls=context,
    )
    shown = SnapshotCamera(options, pictures(picture or ()), tell=typer.echo)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(shown, entry))


async def _run(camera: SnapshotCamera, entry: dict[str, object]) -> None:
    try:
        await camera.__aenter__()
    except OSError as error:
        raise OperatorError(f"the camera can't listen ({error.strerror}): choose another --port") from error
    try:
        cameras = json.dumps([{"url": camera.url, **entry}])
        typer.echo(f"A camera at {camera.url}\n\nPaste this line into another terminal, then: make run\n")
        typer.echo(f"export GATEWAY_CAMERA_PULL__CAMERA='{cameras}'\n\nCtrl-C stops it.\n")
        await asyncio.Event().wait()
    finally:
        await camera.__aexit__(None, None, None)


def _password_file(folder: Path, password: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "camera.password"
    file.touch(mode=0o600)
    file.write_text(f"{password}\n")
    return file


def _own_certificate(folder: Path) -> tuple[ssl.SSLContext, str]:
    """Return a server's context and the fingerprint of its certificate."""
    from gateway.simulators.iot_hub.certificates import CertificateAuthority

    files = CertificateAuthority(folder).issue("camera", common_name="127.0.0.1", for_server=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    der = ssl.PEM_cert_to_DER_cert(files.certificate.read_text().partition("-----END")[0] + "-----END CERTIFICATE-----")
    return context, hashlib.sha256(der).hexdigest()
