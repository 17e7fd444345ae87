"""What the admin face serves. The API page is Swagger UI from swagger-ui-bundle: it needs no internet."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from swagger_ui_bundle import swagger_ui_path

from adapters.http.faces import unexpected

PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8"
# File → media type: nothing else of the bundle is served.
ASSETS = {
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "favicon-32x32.png": "image/png",
}
# No calls from the page: it is on another port than the devices' routes, and browsers would refuse the answers.
DOCS_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>gateway-bridge API</title>
<link rel="icon" type="image/png" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script>
SwaggerUIBundle({url: "openapi.json", dom_id: "#ui", validatorUrl: null, supportedSubmitMethods: []});
</script>
</body>
</html>
"""


def admin_app(
    *,
    metrics: Callable[[], bytes],
    health: Callable[[], Mapping[str, object]],
    openapi: Callable[[], Mapping[str, Any]] | None,
) -> Starlette:
    """Return the application. Everything is answered from memory in one write."""

    async def metrics_text(_: Request) -> Response:
        return Response(metrics(), headers={"content-type": PROMETHEUS_TEXT})

    async def health_detail(_: Request) -> Response:
        return Response(json.dumps(health(), ensure_ascii=False), media_type="application/json")

    routes = [Route("/metrics", metrics_text), Route("/healthz", health_detail)]
    if openapi is not None:
        document = openapi

        async def api_document(_: Request) -> Response:
            return Response(json.dumps(document()), media_type="application/json")

        routes += [Route("/openapi.json", api_document), Route("/docs", _docs), Route("/docs/{asset}", _asset)]
    app = Starlette(routes=routes, exception_handlers={Exception: unexpected})
    app.router.redirect_slashes = False
    return app


async def _docs(_: Request) -> Response:
    return Response(DOCS_PAGE, media_type="text/html")


async def _asset(request: Request) -> Response:
    name = request.path_params["asset"]
    if name not in ASSETS:
        return PlainTextResponse("404 not found\n", 404)
    headers = {"content-type": ASSETS[name], "cache-control": "max-age=86400"}
    return Response((swagger_ui_path / name).read_bytes(), headers=headers)
