"""Ready means: can accept and commit. One adapter's trouble is named and takes nothing from the others."""

from gateway.health import Health, PartState


def health(*obstacles: str) -> Health:
    return Health(intake_obstacles=lambda: obstacles, started_s=0.0)


def test_an_intake_that_can_not_commit_is_not_ready() -> None:
    assert health("disk_unavailable").obstacles() == ("disk_unavailable",)


def test_an_adapter_that_does_not_serve_is_a_trouble_and_no_obstacle() -> None:
    site = health()
    site.part("http").state = PartState.SERVING
    site.part("mqtt_broker").state = PartState.FAILED
    assert site.obstacles() == ()
    assert site.troubles() == ("mqtt_broker_failed",)
