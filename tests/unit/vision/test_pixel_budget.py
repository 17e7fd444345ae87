"""The pixel budget shared by all decoders."""

import random
import threading

import pytest

from gateway.vision.pixel_budget import PixelBudget


def test_never_more_than_the_budget_is_out() -> None:
    budget = PixelBudget(pixels_max=100)
    out, most, lock = 0, 0, threading.Lock()

    def work(seed: int) -> None:
        nonlocal out, most
        chance = random.Random(seed)
        for _ in range(200):
            pixels = chance.randint(1, 100)
            with budget.hold(pixels):
                with lock:
                    out += pixels
                    most = max(most, out)
                with lock:
                    out -= pixels

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert not any(thread.is_alive() for thread in threads), "deadlock"
    assert 0 < most <= 100
    assert out == 0


def test_a_large_picture_is_not_starved_by_small_ones() -> None:
    budget = PixelBudget(pixels_max=10)
    order: list[str] = []
    first_holds, may_end = threading.Event(), threading.Event()

    def first() -> None:
        with budget.hold(1):
            first_holds.set()
            may_end.wait(timeout=10)

    def other(name: str, pixels: int) -> None:
        with budget.hold(pixels):
            order.append(name)

    holder = threading.Thread(target=first)
    holder.start()
    first_holds.wait(timeout=10)
    waiting = []
    for name, pixels in (("large", 10), ("small", 1)):
        thread = threading.Thread(target=other, args=(name, pixels))
        thread.start()
        waiting.append(thread)
        while len(budget._waiting) < len(waiting):  # the order of asking is the point
            thread.join(timeout=0.001)
    may_end.set()
    for thread in (holder, *waiting):
        thread.join(timeout=10)
    assert order == ["large", "small"]


def test_pixels_come_back_after_an_error() -> None:
    budget = PixelBudget(pixels_max=10)
    with pytest.raises(ZeroDivisionError), budget.hold(10):
        raise ZeroDivisionError
    with budget.hold(10):
        pass
