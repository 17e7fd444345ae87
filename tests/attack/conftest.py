"""One real gateway for all attacks, with the settings that it has by default: each must leave it fit for the next."""

from collections.abc import Iterator

import pytest

from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.pictures import small_picture


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path_factory.mktemp("attacked") / "data") as running:
        # What is loaded at the first picture is loaded before anything is measured.
        assert running.post_picture(small_picture()).status_code == 200
        yield running
