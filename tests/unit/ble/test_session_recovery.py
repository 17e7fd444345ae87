"""The ladder, and what the operator is told."""

import pytest

from adapters.ble.diagnosis import ABSENT, RadioError, reason_of, told
from adapters.ble.recovery import POWER_CYCLE_SPACING_S, Ladder, Rung


def test_ladder_goes_from_mild_to_telling() -> None:
    ladder = Ladder()
    assert [ladder.climb(0.0, gently=False) for _ in range(5)] == [
        Rung.NEW_SCANNER,
        Rung.NEW_SCANNER,
        Rung.POWER_CYCLE,
        Rung.AUTO_RECOVERY,
        Rung.UNHEALTHY,
    ]


def test_silence_that_may_be_just_silence_never_switches_the_adapter_off() -> None:
    ladder = Ladder()
    assert {ladder.climb(float(n), gently=True) for n in range(50)} == {Rung.NEW_SCANNER}


def test_advertisement_brings_the_ladder_down() -> None:
    ladder = Ladder()
    ladder.climb(0.0, gently=False)
    ladder.climb(0.0, gently=False)
    ladder.heard()
    assert ladder.climb(0.0, gently=False) is Rung.NEW_SCANNER


def test_adapter_is_not_power_cycled_again_at_once() -> None:
    ladder = Ladder()
    first = [ladder.climb(0.0, gently=False) for _ in range(10)]
    assert first.count(Rung.POWER_CYCLE) == 1
    later = [ladder.climb(POWER_CYCLE_SPACING_S, gently=False) for _ in range(5)]
    assert later.count(Rung.POWER_CYCLE) == 1


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (FileNotFoundError(2, "No such file"), "apt-get install bluez"),
        (ConnectionRefusedError(111, "refused"), "/run/dbus:/run/dbus"),
        (PermissionError(13, "Permission denied"), "group bluetooth"),
        (RuntimeError("org.freedesktop.DBus.Error.ServiceUnknown"), "systemctl enable --now bluetooth"),
        (RuntimeError("[org.bluez.Error.NotReady] Resource Not Ready"), "bluetoothctl power on"),
        (RuntimeError("[org.bluez.Error.InProgress] busy"), "End other scanners"),
        (TimeoutError(), "systemctl restart bluetooth"),
        (RuntimeError("adapter 'hci7' not found"), "ble.adapter"),
    ],
)
def test_each_trouble_is_told_in_one_line_with_its_cure(error: Exception, cure: str) -> None:
    line = told(RadioError(reason_of(error), str(error)))
    assert cure in line
    assert "\n" not in line


def test_every_reason_has_a_text() -> None:
    for reason in ABSENT:
        assert told(RadioError(reason, "x"))
