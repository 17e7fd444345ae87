"""Device provisioning: the real SDK against the stand-ins of the provisioning service and of two hubs."""

import base64
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cloud import child_link
from gateway.cloud.provisioning import AssignmentFile, derived_key
from gateway.doctor.examination import Examination
from gateway.errors import LinkDown
from gateway.settings import load_settings
from gateway.simulators.iot_hub.devices import new_key
from gateway.simulators.iot_hub.provisioning import Enrolment
from tests.fakes.gateway_process import ROOT, GatewayProcess
from tests.fakes.link import eventually, link_with, message
from tests.fakes.provisioning import HUB_A, HUB_B, RunningProvisioning, provisioning_in_thread


@pytest.fixture
def dps(tmp_path: Path) -> Iterator[RunningProvisioning]:
    with provisioning_in_thread(tmp_path) as running:
        yield running


@pytest.fixture
def assignments(tmp_path: Path) -> AssignmentFile:
    return AssignmentFile(tmp_path)


async def _send(dps: RunningProvisioning, assignments: AssignmentFile, **asked: object) -> None:
    async with link_with(dps.cloud_settings(**asked), assignments=assignments) as link, link.session() as session:
        await session.send(message())


async def test_a_key_of_its_own_gets_a_device_its_hub(dps: RunningProvisioning, assignments: AssignmentFile) -> None:
    key_file = dps.enrol_with_key("gw1", device_id="greenhouse-3")

    await _send(dps, assignments, key_file=key_file)

    assert [received.client_id for received in dps.messages(HUB_A)] == ["greenhouse-3"]


async def test_a_groups_key_on_the_device_is_derived_for_it(
    dps: RunningProvisioning, assignments: AssignmentFile
) -> None:
    group_key_file = dps.enrol_with_key("")

    await _send(dps, assignments, group_key_file=group_key_file, registration_id="gw7")

    assert [received.client_id for received in dps.messages(HUB_A)] == ["gw7"]


async def test_a_key_derived_elsewhere_opens_for_its_device_alone(
    dps: RunningProvisioning, assignments: AssignmentFile
) -> None:
    group_key = new_key()
    dps.service.enrol(Enrolment(key=group_key))
    key_file = dps.key_file(derived_key(group_key, "gw7"))

    await _send(dps, assignments, key_file=key_file, registration_id="gw7")
    with pytest.raises(LinkDown) as down:
        await _send(dps, assignments, key_file=key_file, registration_id="gw8")

    assert down.value.reason == "credentials_refused"
    assert [received.client_id for received in dps.messages(HUB_A)] == ["gw7"]


@pytest.mark.parametrize("registration_id", ["gw1", ""], ids=["individual", "group"])
async def test_a_certificate_gets_a_device_its_hub_and_opens_that_too(
    dps: RunningProvisioning, assignments: AssignmentFile, registration_id: str
) -> None:
    dps.service.enrol(Enrolment(registration_id=registration_id))
    files = dps.service.issue_certificate("gw1")

    await _send(dps, assignments, certificate_file=files.certificate, certificate_key_file=files.key)

    assert [received.client_id for received in dps.messages(HUB_A)] == ["gw1"]


async def test_a_certificate_of_another_device_is_refused(
    dps: RunningProvisioning, assignments: AssignmentFile
) -> None:
    dps.service.enrol(Enrolment(registration_id="gw1"))
    files = dps.service.issue_certificate("gw2")

    with pytest.raises(LinkDown) as down:
        await _send(dps, assignments, certificate_file=files.certificate, certificate_key_file=files.key)

    assert down.value.reason == "credentials_refused"


async def test_a_service_that_needs_time_is_asked_until_it_has_decided(
    dps: RunningProvisioning, assignments: AssignmentFile
) -> None:
    """What DPS really does: first 202, and the answer on a later question."""
    key_file = dps.enrol_with_key()
    dps.service.faults.polls = 1

    await _send(dps, assignments, key_file=key_file)

    assert len(dps.messages(HUB_A)) == 1


async def test_the_assignment_is_remembered_so_that_a_start_needs_no_service(
    dps: RunningProvisioning, assignments: AssignmentFile
) -> None:
    key_file = dps.enrol_with_key()

    for _ in range(2):
        await _send(dps, assignments, key_file=key_file)

    assert dps.service.connections_total == 1
    assert stat.S_IMODE(assignments.path.stat().st_mode) == 0o600
    told = assignments.path.read_text()
    assert json.loads(told)["hub"] == HUB_A
    assert key_file.read_text().strip() not in told


async def test_an_assignment_of_another_registration_is_not_ours(
    dps: RunningProvisioning, assignments: AssignmentFile
) -> None:
    group_key_file = dps.enrol_with_key("")

    await _send(dps, assignments, group_key_file=group_key_file, registration_id="gw7")
    await _send(dps, assignments, group_key_file=group_key_file, registration_id="gw8")

    assert dps.service.registrations == ["gw7", "gw8"]


async def test_a_device_that_was_moved_to_another_hub_finds_it(
    dps: RunningProvisioning, assignments: AssignmentFile
) -> None:
    key_file = dps.enrol_with_key()
    async with link_with(dps.cloud_settings(key_file=key_file), assignments=assignments) as link:
        async with link.session() as session:
            await session.send(message(1))
            dps.move("gw1", to=HUB_B)
            with pytest.raises(LinkDown):
                await session.lost()
        with pytest.raises(LinkDown) as down:
            async with link.session():
                pass
        assert down.value.reason == "credentials_refused"
        async with link.session() as session:
            await session.send(message(2))
    assert [received.message_id for received in dps.messages(HUB_B)] == ["m-2"]
    assert json.loads(assignments.path.read_text())["hub"] == HUB_B


async def test_a_service_that_is_down_does_not_keep_a_known_device_from_its_hub(
    dps: RunningProvisioning, assignments: AssignmentFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused once by the hub, it doubts; but a doubt without an answer is no reason to stay away."""
    monkeypatch.setattr(child_link, "PROVISION_TIMEOUT_S", 1)
    key_file = dps.enrol_with_key()
    async with link_with(dps.cloud_settings(key_file=key_file), assignments=assignments) as link:
        async with link.session() as session:
            await session.send(message(1))
        dps.service.faults.is_silent = True
        dps.hub().faults = type(dps.hub().faults)(reject_connect=5)
        with pytest.raises(LinkDown):
            async with link.session():
                pass
        dps.hub().faults = type(dps.hub().faults)()
        async with link.session() as session:
            await session.send(message(2))
    assert [received.message_id for received in dps.messages(HUB_A)] == ["m-1", "m-2"]


async def test_an_enrolment_that_is_disabled_is_told_with_the_cure(
    dps: RunningProvisioning, assignments: AssignmentFile
) -> None:
    enrolment = dps.service.enrol(Enrolment(registration_id="gw1", key=new_key()))
    dps.service.disable(enrolment)

    with pytest.raises(LinkDown) as down:
        await _send(dps, assignments, key_file=dps.key_file(enrolment.key))

    assert down.value.reason == "provisioning_refused"
    assert "401" in down.value.detail
    assert not assignments.path.exists()


async def test_a_failed_question_leaves_no_process_behind_and_the_next_one_works(
    dps: RunningProvisioning, assignments: AssignmentFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_link, "PROVISION_TIMEOUT_S", 1)
    key_file = dps.enrol_with_key()
    dps.service.faults.is_silent = True
    async with link_with(dps.cloud_settings(key_file=key_file), assignments=assignments) as link:
        with pytest.raises(LinkDown) as down:
            async with link.session():
                pass
        assert down.value.reason == "provisioning_timeout"
        assert link.child_figures() is None
        dps.service.faults.is_silent = False
        async with link.session() as session:
            await session.send(message())
    await eventually(lambda: dps.messages(HUB_A))


async def test_a_key_file_that_has_gone_is_named(
    dps: RunningProvisioning, assignments: AssignmentFile, tmp_path: Path
) -> None:
    with pytest.raises(LinkDown) as down:
        await _send(dps, assignments, key_file=tmp_path / "absent.key")

    assert down.value.reason == "file_unreadable"
    assert "absent.key" in down.value.detail


async def test_over_websockets_and_through_the_proxy_it_is_the_same(
    dps: RunningProvisioning, assignments: AssignmentFile
) -> None:
    key_file = dps.enrol_with_key()
    settings = dps.cloud_settings(key_file=key_file).model_copy(update={"transport": "websockets"})
    async with link_with(settings, assignments=assignments) as link, link.session() as session:
        await session.send(message())
    assert len(dps.messages(HUB_A)) == 1


# --- gateway provision --------------------------------------------------------------------------------


def _gateway(*arguments: str, environment: dict[str, str], text: str = "") -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "IOTHUB_"))}
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        cwd=ROOT,
        env=kept | environment,
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_gateway_provision_goes_through_every_step_and_the_gateway_then_delivers(
    dps: RunningProvisioning, tmp_path: Path
) -> None:
    enrolment = dps.service.enrol(Enrolment(registration_id="gw1", key=new_key()))
    key_file = dps.key_file(enrolment.key)
    environment = dps.environment(key_file=key_file)
    data = {"GATEWAY_GATEWAY__DATA_DIR": str(tmp_path / "data")}

    done = _gateway("provision", environment=environment | data)

    assert done.returncode == 0, done.stderr
    steps = [line for line in done.stdout.splitlines() if line[:1].isdigit()]
    assert [line[:2] for line in steps] == [f"{number}." for number in range(1, 8)]
    assert f"this device's symmetric key, {key_file} (mode 0600)" in steps[1]
    assert f"hub {HUB_A}, as device gw1" in steps[3]
    assert "lets this gateway in" in steps[-1]
    assert enrolment.key not in done.stdout + done.stderr
    dps.service.disable(enrolment)
    with GatewayProcess(tmp_path / "data", environment=environment) as gateway:
        assert gateway.post_picture((ROOT / "examples" / "banana-ripe.jpg").read_bytes()).status_code == 200
        deadline = time.monotonic() + 30
        while not dps.messages(HUB_A):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        again = _gateway("provision", environment=environment | data)
        assert again.returncode == 2
        assert "That failed (provisioning_refused)" in again.stderr
    assert dps.service.registrations == ["gw1"]
    told = _gateway("check", environment=environment | data).stdout
    assert f"device gw1 of {HUB_A}" in told
    examination = Examination(settings=load_settings(None, environment | data, {}, tmp_path), environment={})
    assert examination._assigned_hub() == HUB_A


def test_a_refused_provisioning_ends_with_the_reason_and_the_cure(dps: RunningProvisioning, tmp_path: Path) -> None:
    key_file = dps.key_file(new_key())

    done = _gateway(
        "provision", environment=dps.environment(key_file=key_file) | {"GATEWAY_GATEWAY__DATA_DIR": str(tmp_path / "d")}
    )

    assert done.returncode == 2
    assert "That failed (credentials_refused)" in done.stderr
    assert not (tmp_path / "d" / "cloud-assignment.json").exists()


def test_without_settings_gateway_provision_says_what_to_write(tmp_path: Path) -> None:
    done = _gateway("provision", environment={"GATEWAY_GATEWAY__DATA_DIR": str(tmp_path / "data")})

    assert done.returncode == 2
    assert 'id_scope = "0ne000A1B2C"' in done.stderr


def test_a_derived_key_is_written_to_a_file_of_the_owner_alone(tmp_path: Path) -> None:
    group_key, out = new_key(), tmp_path / "device.key"
    arguments = ("provision", "derive-key", "--registration-id", "gw7")

    written = _gateway(*arguments, "--out", str(out), environment={}, text=group_key)
    again = _gateway(*arguments, "--out", str(out), environment={}, text=new_key())
    wrong = _gateway(*arguments, environment={}, text="no key!")

    assert (written.returncode, again.returncode, wrong.returncode) == (0, 2, 2)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert out.read_text() == derived_key(group_key, "gw7") + "\n"
    assert "no key!" not in wrong.stderr


def test_a_key_is_derived_as_azures_documentation_does() -> None:
    """It gives: printf %s DEVICE | openssl dgst -sha256 -mac HMAC -macopt hexkey:... -binary | base64."""
    group_key = "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw=="
    device = "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6"

    made = subprocess.run(
        [
            *("openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt"),
            *(f"hexkey:{base64.b64decode(group_key).hex()}", "-binary"),
        ],
        input=device.encode(),
        capture_output=True,
        check=True,
    )

    assert derived_key(group_key, device) == base64.b64encode(made.stdout).decode()
