"""The host's side of ``make test-bluez``: its exit status must be true whatever the virtual machine does."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bluez_vm.lines import Kind, Line, parsed
from tests.bluez_vm.needs import TOOLS
from tests.bluez_vm.vm import Outcome, run_machine
from tests.vm.kernel import load_order
from tests.vm.machine import NEEDED_MEMORY_MB, CannotRun, Machine, to_install

PASSED = Line(kind=Kind.PASSED, text="a scenario", seconds=1.5)
FAILED = Line(kind=Kind.FAILED, text="another", detail="never came: a picture")
END = Line(kind=Kind.END)
ABLE = Machine(
    system="Linux",
    processor="x86_64",
    available_mb=NEEDED_MEMORY_MB,
    is_root=True,
    has_apt=True,
    missing=(),
)


def guest(out: Path, *lines: Line, then: str = "", limit_s: float = 60) -> Outcome:
    """Return what is made of a machine that tells these lines and then does that."""
    script = f"import sys, time; sys.stdout.write({''.join(line.encoded() for line in lines)!r}); sys.stdout.flush(); "
    return run_machine([sys.executable, "-c", script + then], out=out / "out", limit_s=limit_s)


# --- the verdict --------------------------------------------------------------------------------------


def test_all_passed_and_told_to_the_end_is_a_pass(tmp_path: Path) -> None:
    assert guest(tmp_path, PASSED, PASSED, END).passed


def test_machine_that_breaks_after_its_end_was_told_is_a_pass(tmp_path: Path) -> None:
    assert guest(tmp_path, PASSED, END, then="sys.exit('9p: request failed')").passed


def test_machine_that_hangs_after_its_end_was_told_is_ended(tmp_path: Path) -> None:
    assert guest(tmp_path, PASSED, END, then="time.sleep(3600)").passed


def test_one_failure_is_a_failure(tmp_path: Path) -> None:
    outcome = guest(tmp_path, PASSED, FAILED, END)
    assert not outcome.passed
    assert outcome.results == (PASSED, FAILED)


def test_machine_that_dies_before_the_end_is_a_failure(tmp_path: Path) -> None:
    outcome = guest(tmp_path, PASSED, then="sys.exit(0)")
    assert not outcome.passed
    assert not outcome.timed_out


def test_machine_that_tells_nothing_is_a_failure(tmp_path: Path) -> None:
    assert not guest(tmp_path, END).passed


def test_machine_that_hangs_is_ended_in_time_and_a_failure(tmp_path: Path) -> None:
    outcome = guest(tmp_path, PASSED, then="time.sleep(3600)", limit_s=0.5)
    assert outcome.timed_out
    assert not outcome.passed


def test_other_programs_output_on_the_port_is_skipped() -> None:
    assert parsed(PASSED.encoded()) == PASSED
    assert [parsed(text) for text in ("SeaBIOS (version 1.16)", "{}", "[1]", '{"kind": "better"}', "")] == [None] * 5


# --- the machine --------------------------------------------------------------------------------------


def test_machine_with_everything_needs_nothing() -> None:
    assert to_install(ABLE) == ()


def test_root_with_apt_installs_what_is_missing() -> None:
    machine = replace(ABLE, missing=TOOLS[-1:])
    assert [tool.package for tool in to_install(machine)] == ["bluez"]


@pytest.mark.parametrize(
    ("machine", "why"),
    [
        (replace(ABLE, processor="aarch64"), "Linux on aarch64"),
        (replace(ABLE, system="Darwin"), "Darwin on x86_64"),
        (replace(ABLE, available_mb=700), "700 MB of memory are available; 1536 MB are needed"),
        (replace(ABLE, missing=TOOLS, is_root=False), r"not root.*apt-get install qemu-system-x86 busybox"),
        (replace(ABLE, missing=TOOLS, has_apt=False), "there is no apt-get"),
    ],
)
def test_machine_that_cannot_says_why(machine: Machine, why: str) -> None:
    with pytest.raises(CannotRun, match=why):
        to_install(machine)


# --- the kernel ---------------------------------------------------------------------------------------

MODULES_DEP = """\
kernel/net/bluetooth/bluetooth.ko: kernel/net/rfkill/rfkill.ko kernel/crypto/ecdh_generic.ko kernel/crypto/ecc.ko
kernel/drivers/bluetooth/hci_vhci.ko.xz: kernel/net/bluetooth/bluetooth.ko kernel/net/rfkill/rfkill.ko
kernel/net/rfkill/rfkill.ko:
kernel/crypto/ecdh_generic.ko: kernel/crypto/ecc.ko
kernel/crypto/ecc.ko:
"""


def test_modules_are_loaded_after_what_they_need_and_once() -> None:
    order = load_order(["bluetooth", "hci-vhci"], modules_dep=MODULES_DEP, modules_builtin="")
    assert [Path(path).name for path in order] == [
        "ecc.ko",
        "ecdh_generic.ko",
        "rfkill.ko",
        "bluetooth.ko",
        "hci_vhci.ko.xz",
    ]


def test_module_in_the_kernel_itself_is_not_loaded() -> None:
    assert load_order(["9p"], modules_dep=MODULES_DEP, modules_builtin="kernel/fs/9p/9p.ko\n") == []


def test_module_that_is_nowhere_is_told() -> None:
    with pytest.raises(CannotRun, match="no module uhid"):
        load_order(["uhid"], modules_dep=MODULES_DEP, modules_builtin="")
