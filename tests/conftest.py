"""What all tests share: hypothesis without time limits, and a CI that forbids skips for missing packages."""

import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

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
    return report
