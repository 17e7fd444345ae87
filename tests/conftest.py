"""What all tests share: hypothesis without time limits, a CI that forbids skips for missing packages, and the canary.

What a test started ends with it (tests/fakes/child_process.py). The canary (tests/fakes/canary.py) fails a test after
which a secret was found in what the program printed.
"""

import os
import subprocess
from collections.abc import Callable, Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from typer.testing import CliRunner

from tests.fakes.canary import THE_CANARY
from tests.fakes.child_process import ending_with_the_block

# No time limits on speed: these run on slow boards too. CI runs the same examples each time.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("default"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

# A test that can't run without a system package skips with a reason that starts so.
MISSING_PACKAGE = "missing package:"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and os.environ.get("CI") and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2]
        if MISSING_PACKAGE in reason:
            report.outcome = "failed"
            report.longrepr = f"CI forbids this skip: {reason}"
    if report.when == "teardown":
        _tell_leaks(report, item)
    return report


def _tell_leaks(report: pytest.TestReport, item: pytest.Item) -> None:
    # Sections pile up over the three phases: the last has all of them.
    sections = () if item.get_closest_marker("logs_secrets") else report.sections
    for name, text in sections:
        THE_CANARY.look_at(text, f"{name} of {item.nodeid}")
    if leaks := THE_CANARY.take_leaks():
        report.outcome = "failed"
        report.longrepr = "\n".join(["Secrets came out:", *sorted({str(leak) for leak in leaks})])


def _watched_communicate(original: Callable[..., Any]) -> Callable[..., Any]:
    def communicate(self: "subprocess.Popen[Any]", *args: Any, **kwargs: Any) -> Any:
        outputs = original(self, *args, **kwargs)
        arguments = [str(one) for one in self.args] if isinstance(self.args, list | tuple) else []
        if "gateway" in arguments:
            for output in outputs:
                text = output.decode(errors="replace") if isinstance(output, bytes) else output or ""
                THE_CANARY.look_at_command(arguments[arguments.index("gateway") + 1 :], text)
        return outputs

    return communicate


def _watched_invoke(original: Callable[..., Any]) -> Callable[..., Any]:
    def invoke(self: CliRunner, app: Any, args: Any = None, **kwargs: Any) -> Any:
        result = original(self, app, args, **kwargs)
        THE_CANARY.look_at_command([str(one) for one in args or ()], result.output)
        return result

    return invoke


@pytest.fixture(autouse=True)
def _children_end() -> Generator[None]:
    """Leave nothing running behind a test that failed: the next one would feel it."""
    with ending_with_the_block():
        yield


@pytest.fixture(scope="session", autouse=True)
def _canary() -> Generator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "communicate", _watched_communicate(subprocess.Popen.communicate))
        patch.setattr(CliRunner, "invoke", _watched_invoke(CliRunner.invoke))
        yield
