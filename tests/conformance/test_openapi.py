"""The OpenAPI document: valid, equal to the routes, and kept by the server under generated requests."""

import os
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import positive_data_acceptance

from adapters.http import openapi
from adapters.http.admission import Admission
from adapters.http.api import DeviceApi
from adapters.http.door import SubmissionDoor
from adapters.http.url_fetch import UrlFetcher
from gateway.readings import READINGS_PER_SUBMISSION_MAX
from gateway.settings import LimitsSettings, UrlFetchSettings
from tests.fakes.intake import FakeIntake, FakeReadiness, RecordingMeter

DOCUMENT = openapi.document(server_url="http://127.0.0.1:8080", version="1.2.3")
# Some a route in every run; `make fuzz FUZZ=--openapi` asks for thousands.
EXAMPLES = int(os.environ.get("OPENAPI_EXAMPLES", "20"))
# What refuses a request that violates the schema; too many elements are often too many bytes (413) first.
REFUSALS = ["400", "401", "403", "404", "405", "413", "415", "422", "429", "503"]
CONFIG = SchemathesisConfig.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": REFUSALS}}})
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT, config=CONFIG)


def test_document_names_exactly_the_routes_that_are_served() -> None:
    intake = FakeIntake()
    door = SubmissionDoor(
        intake=intake,
        limits=LimitsSettings(),
        clock=intake.clock,
        fetcher=UrlFetcher(settings=UrlFetchSettings()),
    )
    api = DeviceApi(
        door=door,
        admission=Admission(access="open", gatekeeper=None),
        reader=intake,
        readiness=FakeReadiness(),
        meter=RecordingMeter(),
        banner="",
    )
    served = {
        (route.path.replace(":path}", "}"), method.lower())
        for route in api.routes
        for method in (route.methods or set()) - {"HEAD"}
    }
    documented = {(path, method) for path, operations in DOCUMENT["paths"].items() for method in operations}
    assert documented == served


def test_operation_ids_are_unique_and_references_resolve() -> None:
    operations = [operation for path in DOCUMENT["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    schemas = DOCUMENT["components"]["schemas"]
    assert references(DOCUMENT) <= {f"#/components/schemas/{name}" for name in schemas}
    assert len(references(DOCUMENT)) == len(schemas)


def test_array_cap_in_the_document_is_the_parsers() -> None:
    assert DOCUMENT["components"]["schemas"]["ReadingArray"]["maxItems"] == READINGS_PER_SUBMISSION_MAX


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if "$ref" in node else set()
        return own.union(*(references(inner) for inner in node.values()))
    if isinstance(node, list):
        return set().union(*(references(inner) for inner in node))
    return set()


# /nostore and /detect share the code and the schema of their siblings: asking once is enough.
@SCHEMA.exclude(path_regex="nostore|detect").parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="OPENAPI_EXAMPLES" not in os.environ,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_server_keeps_its_document_under_generated_requests(case: schemathesis.Case[Any], gateway_url: str) -> None:
    # A schema can't say "a JPEG" or "an allowed host": what it generates is rightly refused with a documented status.
    case.call_and_validate(base_url=gateway_url, excluded_checks=[positive_data_acceptance], timeout=10)
