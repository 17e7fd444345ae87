import pytest

from adapters.http.paths import canonical_path, custom_vision_paths


@pytest.mark.parametrize("version", ["v3.0", "v3.1", "v3.12"])
@pytest.mark.parametrize("word", ["prediction", "Prediction", "PREDICTION"])
def test_hosted_path_has_one_spelling_inside(version: str, word: str) -> None:
    path = f"/customvision/{version}/{word}/P1/classify/iterations/It/image"
    assert canonical_path(path) == "/customvision/v3.1/prediction/P1/classify/iterations/It/image"


@pytest.mark.parametrize("path", ["/Image", "/image/", "/customvision/v2.0/prediction/p/image", "/CustomVision/v3.1/x"])
def test_other_paths_are_left_alone(path: str) -> None:
    assert canonical_path(path) == path


def test_image_paths_are_the_containers_and_the_sdks() -> None:
    assert custom_vision_paths("image") == (
        "/image",
        "/{project}/image",
        "/{project}/image/nostore",
        "/{project}/classify/iterations/{name}/image",
        "/{project}/classify/iterations/{name}/image/nostore",
        "/{project}/detect/iterations/{name}/image",
        "/{project}/detect/iterations/{name}/image/nostore",
        "/customvision/v3.1/prediction/{project}/classify/iterations/{name}/image",
        "/customvision/v3.1/prediction/{project}/classify/iterations/{name}/image/nostore",
        "/customvision/v3.1/prediction/{project}/detect/iterations/{name}/image",
        "/customvision/v3.1/prediction/{project}/detect/iterations/{name}/image/nostore",
    )
