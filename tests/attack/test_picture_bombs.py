"""Small files that want gigabytes or hours, sent by several clients at once while a good device is served."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from gateway.errors import ImageDamaged, NotAnImage, TooManyPixels
from gateway.vision.image import check_pixels, decode, read_header, weighed_pixels
from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.picture_bombs import HARMLESS, REFUSED, many_scans, plane_by_plane
from tests.fakes.siege import under_watch

CLIENTS = 3
# What may stay of the largest that are decoded at the same time; the bombs want 200 MiB to 12 GiB.
GROWTH_MIB_MAX = 120


def send_all(gateway: GatewayProcess, bombs: dict[str, bytes]) -> dict[str, int]:
    """Return the status of each; the same name from each client at the same time."""

    def sent(name: str) -> tuple[str, int]:
        url, status = f"{gateway.http}/v1/devices/bomber/images", 503
        while status == 503:  # as many of the largest as are sent at once do not fit
            status = requests.post(url, data=bombs[name], timeout=60).status_code
        return name, status

    with ThreadPoolExecutor(CLIENTS) as clients:
        return dict(clients.map(sent, [name for name in bombs for _ in range(CLIENTS)]))


def test_no_bomb_in_pictures_clothing_goes_off(gateway: GatewayProcess) -> None:
    bombs = {name: make() for name, make in {**REFUSED, **HARMLESS}.items()}
    with under_watch(gateway) as watch:
        statuses = send_all(gateway, bombs)
    assert {name for name in REFUSED if statuses[name] not in {413, 415, 422}} == set()
    assert {name for name in HARMLESS if statuses[name] != 200} == set()
    watch.assert_unharmed(growth_mib_max=GROWTH_MIB_MAX)


@pytest.mark.parametrize("name", [*REFUSED, *HARMLESS])
def test_each_bomb_is_told_apart_before_it_is_decoded(name: str) -> None:
    data = (REFUSED | HARMLESS)[name]()
    assert len(data) < 8 * 1024 * 1024
    if name in REFUSED:
        with pytest.raises((ImageDamaged, NotAnImage, TooManyPixels)):
            check_pixels(read_header(data), pixels_max=12_000_000)
    else:
        header = read_header(data)
        assert header.pixels < 100_000
        assert decode(header).size == (header.width, header.height)


def test_as_many_scans_as_encoders_write_are_taken() -> None:
    header = read_header(many_scans(50))
    assert header.progressive


def test_a_jpeg_of_several_scans_weighs_as_much_as_a_progressive_one() -> None:
    header = read_header(plane_by_plane(640, 480))
    assert decode(header).size == (640, 480)
    assert weighed_pixels(header) == header.pixels * 1.5
