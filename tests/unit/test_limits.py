"""Bounds derived from the memory budget."""

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
from gateway.settings import MIB, CloudSettings, LimitsSettings, ModelSettings, Settings

PHONE_PHOTOGRAPH = 4032 * 3024


def settings(*, budget_mb: int = 256, image_bytes_max: int = 8 * MIB, workers: int = 0) -> Settings:
    return Settings(
        limits=LimitsSettings(memory_budget_mb=budget_mb, image_bytes_max=image_bytes_max),
        model=ModelSettings(workers=workers),
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


def test_the_smallest_budget_still_works_with_smaller_pictures() -> None:
    limits = derive_limits(settings(budget_mb=128), cpu_count=4)

    assert limits.workers == 1
    assert limits.pixels_max >= 1024 * 768
    assert limits.in_flight_bytes_max >= 8 * MIB


def test_a_larger_budget_gives_more_of_everything() -> None:
    small, large = (derive_limits(settings(budget_mb=budget), cpu_count=16) for budget in (256, 1024))

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


def test_pictures_that_leave_no_room_for_their_pixels_are_refused_with_sizes_that_fit() -> None:
    with pytest.raises(LimitsImpossible) as caught:
        derive_limits(settings(image_bytes_max=200 * MIB), cpu_count=1)

    assert caught.value.key == "limits.image_bytes_max"
    assert str(caught.value).endswith("or memory_budget_mb to 315 or more.")
    assert derive_limits(settings(budget_mb=315, image_bytes_max=200 * MIB), cpu_count=1).pixels_max >= PIXELS_MIN


def test_large_pictures_take_the_place_of_workers_that_nobody_asked_for() -> None:
    limits = derive_limits(settings(image_bytes_max=100 * MIB), cpu_count=4)

    assert limits.workers == 4
    assert limits.in_flight_bytes_max == 100 * MIB
    assert derive_limits(settings(image_bytes_max=135 * MIB), cpu_count=4).workers == 1


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
)
def test_the_parts_never_exceed_the_budget(budget_mb: int, image_bytes_max: int, workers: int, cpu_count: int) -> None:
    wanted = settings(budget_mb=budget_mb, image_bytes_max=image_bytes_max, workers=workers)
    try:
        limits = derive_limits(wanted, cpu_count)
    except LimitsImpossible:
        with pytest.raises(LimitsImpossible):  # whatever the number of cores
            derive_limits(wanted, cpu_count=1)
        assume(False)

    fixed = (PROCESS_MIB + limits.workers * INTERPRETER_MIB) * MIB
    assert fixed + limits.in_flight_bytes_max + limits.pixels_max * DECODED_BYTES_PER_PIXEL <= budget_mb * MIB
    assert limits.in_flight_bytes_max >= image_bytes_max
    assert limits.pixels_max >= PIXELS_MIN
    assert limits.workers >= 1
