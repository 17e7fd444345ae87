"""Bounds derived from the memory budget."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.limits import (
    DECODED_BYTES_PER_PIXEL,
    INTERPRETER_MIB,
    PIXELS_MIN,
    PROCESS_MIB,
    LimitsImpossible,
    derive_limits,
)
from gateway.settings import (
    MIB,
    BleSettings,
    CloudSettings,
    HttpSettings,
    LimitsSettings,
    ModelSettings,
    MqttChunksSettings,
    MqttSettings,
    Settings,
)

PHONE_PHOTOGRAPH = 4032 * 3024
NO_FACES: dict[str, Any] = {"http": HttpSettings(enabled=False), "mqtt": MqttSettings(listen="")}
BOTH_WAYS = MqttSettings(url="mqtt://broker.example")


def settings(*, budget_mb: int = 300, image_bytes_max: int = 8 * MIB, workers: int = 0, **faces: Any) -> Settings:
    return Settings(
        limits=LimitsSettings(memory_budget_mb=budget_mb, image_bytes_max=image_bytes_max),
        model=ModelSettings(workers=workers),
        **faces,
    )


@pytest.mark.parametrize("cpu_count", [1, 2, 3, 4])
def test_the_default_budget_admits_a_phone_photograph_with_a_worker_per_core_up_to_four(cpu_count: int) -> None:
    limits = derive_limits(Settings(), cpu_count)

    assert limits.workers == cpu_count
    assert limits.pixels_max >= PHONE_PHOTOGRAPH
    assert limits.in_flight_bytes_max >= 8 * MIB


def test_many_cores_do_not_eat_the_default_budget() -> None:
    limits = derive_limits(Settings(), cpu_count=64)

    assert limits.workers == 4
    assert limits.pixels_max >= PHONE_PHOTOGRAPH


@pytest.mark.parametrize(("cpu_count", "workers"), [(1, 1), (2, 2), (3, 3), (4, 3)])
def test_with_a_broker_too_workers_give_way_to_a_phone_photograph(cpu_count: int, workers: int) -> None:
    limits = derive_limits(settings(mqtt=BOTH_WAYS), cpu_count)

    assert limits.workers == workers
    assert limits.pixels_max >= PHONE_PHOTOGRAPH


def test_workers_do_not_give_way_where_a_phone_photograph_fits_anyhow_not() -> None:
    assert derive_limits(settings(budget_mb=240), cpu_count=4).workers > 1


def test_the_smallest_budget_works_with_small_pictures_and_without_the_mqtt_listener() -> None:
    limits = derive_limits(settings(budget_mb=128, mqtt=MqttSettings(listen="")), cpu_count=4)

    assert limits.workers == 1
    assert limits.pixels_max >= 640 * 480
    assert limits.in_flight_bytes_max >= 8 * MIB


def test_settings_that_allow_more_than_the_budget_are_refused_with_every_part_and_the_number_that_fits() -> None:
    crowd = MqttSettings(connections_max=20_000)

    with pytest.raises(LimitsImpossible) as caught:
        derive_limits(settings(mqtt=crowd), cpu_count=1)

    assert caught.value.key == "mqtt.connections_max"
    assert "MQTT connections 160" in caught.value.text
    assert "the process 100" in caught.value.text
    assert caught.value.cure == "Set a lower connections_max, or memory_budget_mb to 317 or more."
    assert derive_limits(settings(budget_mb=317, mqtt=crowd), cpu_count=1).pixels_max >= PIXELS_MIN
    with pytest.raises(LimitsImpossible):
        derive_limits(settings(budget_mb=316, mqtt=crowd), cpu_count=1)


def test_a_budget_that_is_too_small_for_the_defaults_is_itself_accused() -> None:
    with pytest.raises(LimitsImpossible) as caught:
        derive_limits(settings(budget_mb=128), cpu_count=1)

    assert caught.value.key == "limits.memory_budget_mb"
    assert caught.value.cure == (
        "Set memory_budget_mb to 164 or more, or lower limits.image_bytes_max, or turn a face off."
    )
    assert derive_limits(settings(budget_mb=164), cpu_count=1).pixels_max >= PIXELS_MIN


def test_tls_at_the_listener_costs_its_share() -> None:
    encrypted = MqttSettings(listen_certificate_file=Path("c.pem"), listen_key_file=Path("k.pem"))
    plain, tls = (derive_limits(settings(mqtt=mqtt), cpu_count=1) for mqtt in (MqttSettings(), encrypted))

    assert tls.pixels_max < plain.pixels_max


def test_a_larger_budget_gives_more_of_everything() -> None:
    small, large = (derive_limits(settings(budget_mb=budget), cpu_count=16) for budget in (300, 1024))

    assert large.workers > small.workers
    assert large.pixels_max > small.pixels_max
    assert large.in_flight_bytes_max > small.in_flight_bytes_max


def test_a_number_of_workers_that_was_asked_for_is_kept() -> None:
    assert derive_limits(settings(workers=7), cpu_count=2).workers == 7


def test_workers_beyond_the_budget_are_refused_with_the_number_that_fits() -> None:
    with pytest.raises(LimitsImpossible, match="Set workers to 12 or less") as caught:
        derive_limits(settings(workers=13), cpu_count=1)

    assert caught.value.key == "model.workers"
    assert derive_limits(settings(workers=12), cpu_count=1).workers == 12


def test_pictures_that_leave_no_room_for_their_pixels_are_refused_with_the_budget_that_fits() -> None:
    with pytest.raises(LimitsImpossible) as caught:
        derive_limits(settings(image_bytes_max=200 * MIB, **NO_FACES), cpu_count=1)

    assert caught.value.key == "limits.image_bytes_max"
    assert caught.value.cure == "Set a lower image_bytes_max, or memory_budget_mb to 315 or more."
    fits = settings(budget_mb=315, image_bytes_max=200 * MIB, **NO_FACES)
    assert derive_limits(fits, cpu_count=1).pixels_max >= PIXELS_MIN


def test_large_pictures_take_the_place_of_workers_that_nobody_asked_for() -> None:
    limits = derive_limits(settings(image_bytes_max=100 * MIB, **NO_FACES), cpu_count=4)

    assert limits.workers == 4
    assert limits.in_flight_bytes_max == 100 * MIB
    assert derive_limits(settings(image_bytes_max=180 * MIB, **NO_FACES), cpu_count=4).workers == 1


def test_queues_are_bounded_by_what_can_be_in_flight() -> None:
    some = Settings(limits=LimitsSettings(in_flight_max=10), cloud=CloudSettings(window=3))

    limits = derive_limits(some, cpu_count=1)

    assert limits.in_flight_max == 10
    assert limits.classify_queue_max == 10
    assert limits.commit_queue_max == 23


def test_the_memory_of_a_pixel_is_the_one_that_the_decoder_reckons_with() -> None:
    from gateway.vision.image import MEMORY_BYTES_PER_PIXEL

    assert DECODED_BYTES_PER_PIXEL == MEMORY_BYTES_PER_PIXEL


@given(
    budget_mb=st.integers(128, 65536),
    image_bytes_max=st.integers(1024, 256 * MIB),
    workers=st.integers(0, 64),
    cpu_count=st.integers(1, 256),
    connections_max=st.integers(1, 100_000),
    broker=st.sampled_from(["", "mqtt://broker.example"]),
    listen=st.sampled_from(["", "127.0.0.1:1883"]),
    partial_bytes_max=st.integers(64 * 1024, 256 * MIB),
    ble=st.booleans(),
)
def test_the_parts_never_exceed_the_budget(
    budget_mb: int,
    image_bytes_max: int,
    workers: int,
    cpu_count: int,
    connections_max: int,
    broker: str,
    listen: str,
    partial_bytes_max: int,
    ble: bool,
) -> None:
    mqtt = MqttSettings(
        url=broker,
        listen=listen,
        connections_max=connections_max,
        chunks=MqttChunksSettings(partial_bytes_max=partial_bytes_max),
    )
    wanted = settings(
        budget_mb=budget_mb,
        image_bytes_max=image_bytes_max,
        workers=workers,
        mqtt=mqtt,
        ble=BleSettings(enabled=ble),
    )
    try:
        limits = derive_limits(wanted, cpu_count)
    except LimitsImpossible:
        with pytest.raises(LimitsImpossible):  # whatever the number of cores
            derive_limits(wanted, cpu_count=1)
        assume(False)

    fixed = (PROCESS_MIB + limits.workers * INTERPRETER_MIB) * MIB
    ways = bool(broker) + bool(listen)
    held = ways * partial_bytes_max
    held += wanted.limits.mqtt_buffered_bytes_max if listen else 0
    held += wanted.limits.mqtt_broker_buffered_bytes_max if broker else 0
    held += wanted.ble.connections_max * wanted.ble.image_bytes_max if ble else 0
    decoded = limits.pixels_max * DECODED_BYTES_PER_PIXEL
    assert fixed + held + limits.in_flight_bytes_max + decoded <= budget_mb * MIB
    assert sum(share.byte_count for share in limits.shares) <= budget_mb * MIB
    assert {"MQTT connections", "HTTP connections"} & {share.name for share in limits.shares}
    assert limits.in_flight_bytes_max >= image_bytes_max
    assert limits.pixels_max >= PIXELS_MIN
    assert limits.workers >= 1
