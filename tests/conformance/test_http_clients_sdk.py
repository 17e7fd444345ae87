"""The Custom Vision prediction SDK from PyPI, unmodified, its endpoint pointed at us."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from azure.cognitiveservices.vision.customvision.prediction import CustomVisionPredictionClient
from azure.cognitiveservices.vision.customvision.prediction.models import CustomVisionErrorException
from msrest.authentication import ApiKeyCredentials

PROJECT = "0b0a7b1c-6a8d-4f0e-9d1c-2f6f6c1b7e55"
ITERATION = "Iteration 2"
TAGS = ["ripe", "unripe"]

# The SDK uses what its own runtime library has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:msrest", "ignore::DeprecationWarning:requests")


@contextmanager
def client_of(endpoint: str) -> Iterator[CustomVisionPredictionClient]:
    credentials = ApiKeyCredentials(in_headers={"Prediction-key": "a-device-token"})
    with CustomVisionPredictionClient(endpoint, credentials) as client:
        yield client


@pytest.mark.parametrize(
    "call", ["classify_image", "classify_image_with_no_store", "detect_image", "detect_image_with_no_store"]
)
def test_sdk_classifies_a_picture(gateway_url: str, picture: bytes, call: str) -> None:
    with client_of(gateway_url) as client:
        answer = getattr(client, call)(PROJECT, ITERATION, picture)
    assert [found.tag_name for found in answer.predictions] == TAGS
    assert 0 <= answer.predictions[0].probability <= 1
    assert answer.created is not None


def test_sdk_with_an_application_classifies_a_picture(gateway_url: str, picture: bytes) -> None:
    with client_of(gateway_url) as client:
        answer = client.classify_image(PROJECT, ITERATION, picture, application="kitchen")
    assert [found.tag_name for found in answer.predictions] == TAGS


@pytest.mark.parametrize("call", ["classify_image_url", "classify_image_url_with_no_store", "detect_image_url"])
def test_sdk_classifies_a_picture_behind_a_url(url_gateway: str, picture_url: str, call: str) -> None:
    with client_of(url_gateway) as client:
        answer = getattr(client, call)(PROJECT, ITERATION, picture_url)
    assert [found.tag_name for found in answer.predictions] == TAGS


def test_sdk_raises_its_own_error_with_our_words(gateway_url: str) -> None:
    with client_of(gateway_url) as client, pytest.raises(CustomVisionErrorException) as refused:
        client.classify_image(PROJECT, ITERATION, b"this is no picture")
    assert refused.value.response.status_code == 415
    assert "JPEG" in refused.value.error.message


def test_sdk_is_told_that_urls_are_off(gateway_url: str) -> None:
    with client_of(gateway_url) as client, pytest.raises(CustomVisionErrorException) as refused:
        client.classify_image_url(PROJECT, ITERATION, "http://example.com/banana.jpg")
    assert "http.url_fetch.allowed_hosts" in refused.value.error.message
