"""The admin face over real uvicorn."""

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import structlog

from adapters.http import openapi
from adapters.http.admin import AdminFace, create_admin_face
from gateway.errors import AdapterUnavailable
from gateway.metrics import Metrics
from gateway.settings import AdminSettings


def document() -> dict[str, Any]:
    return openapi.document(server_url="http://127.0.0.1:8080", version="1.2.3")


def face(*, documented: bool = True, listen: str = "127.0.0.1:0") -> AdminFace:
    return create_admin_face(
        settings=AdminSettings(listen=listen),
        metrics=Metrics().exposition,
        health=lambda: {"state": "serving", "pending": 3},
        openapi=document if documented else None,
    )


@pytest.fixture
async def admin() -> AsyncIterator[httpx.AsyncClient]:
    running = face()
    await running.start()
    async with httpx.AsyncClient(base_url=running.describe()) as client:
        yield client
    await running.stop(5)


async def test_metrics_are_prometheus_text(admin: httpx.AsyncClient) -> None:
    answer = await admin.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "# TYPE gateway_http_connections gauge" in answer.text


async def test_health_detail_is_json(admin: httpx.AsyncClient) -> None:
    assert (await admin.get("/healthz")).json() == {"state": "serving", "pending": 3}


async def test_openapi_document_is_served(admin: httpx.AsyncClient) -> None:
    assert (await admin.get("/openapi.json")).json() == document()


async def test_docs_page_names_no_other_host_and_all_it_names_is_there(admin: httpx.AsyncClient) -> None:
    page = await admin.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "//" not in page.text
    references = [*re.findall(r'(?:src|href)="([^"]+)"', page.text), "openapi.json"]
    assert len(references) == 4
    for reference in references:
        assert (await admin.get("/" + reference)).status_code == 200


async def test_style_sheet_loads_nothing_from_elsewhere(admin: httpx.AsyncClient) -> None:
    sheet = (await admin.get("/docs/swagger-ui.css")).text
    assert "@import" not in sheet
    assert all(target.startswith("data:") for target in re.findall(r"url\(['\"]?([^'\")]{5})", sheet))


@pytest.mark.parametrize("path", ["/docs/index.html", "/docs/..%2f__init__.py", "/docs/", "/image", "/nothing"])
async def test_nothing_else_is_served(admin: httpx.AsyncClient, path: str) -> None:
    assert (await admin.get(path)).status_code == 404


async def test_device_routes_are_not_on_the_admin_face(admin: httpx.AsyncClient) -> None:
    assert (await admin.post("/image", content=b"x")).status_code == 404


async def test_face_without_http_devices_has_no_docs() -> None:
    running = face(documented=False)
    await running.start()
    async with httpx.AsyncClient(base_url=running.describe()) as client:
        assert (await client.get("/docs")).status_code == 404
        assert (await client.get("/metrics")).status_code == 200
    await running.stop(5)


async def test_busy_port_names_the_admin_setting() -> None:
    running = face()
    await running.start()
    with pytest.raises(AdapterUnavailable, match=r"admin\.listen"):
        await face(listen=f"127.0.0.1:{running.port}").start()
    await running.stop(5)


async def test_error_in_the_detail_is_500_with_a_reference() -> None:
    def health() -> dict[str, object]:
        raise ZeroDivisionError

    broken = create_admin_face(
        settings=AdminSettings(listen="127.0.0.1:0"), metrics=lambda: b"", health=health, openapi=None
    )
    await broken.start()
    with structlog.testing.capture_logs() as logs:
        async with httpx.AsyncClient(base_url=broken.describe()) as client:
            answer = await client.get("/healthz")
    assert answer.status_code == 500
    assert [entry["event"] for entry in logs] == ["http_internal_error"]
    assert "reference: " in answer.text
    await broken.stop(5)
