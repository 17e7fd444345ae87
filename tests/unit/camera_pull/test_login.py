"""Challenges as cameras write them, and the answers of the RFCs' own examples."""

import re

import pytest

from adapters.camera_pull.faults import CameraFault, Reason
from adapters.camera_pull.login import Challenge, Login, Mode, digest_answer, parse_challenges


def response(header: str) -> str:
    found = re.search(r'response="([0-9a-f]+)"', header)
    assert found is not None
    return found[1]


def challenge(text: str) -> Challenge:
    (one,) = parse_challenges([text])
    return one


MUFASA = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_example_of_rfc_7616_is_answered_as_it_says(algorithm: str, expected: str) -> None:
    answer = digest_answer(
        challenge(MUFASA.format(algorithm)),
        username="Mufasa",
        password="Circle of Life",
        target="/dir/index.html",
        count=1,
        cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    )
    assert response(answer) == expected
    assert f"algorithm={algorithm}" in answer
    assert "nc=00000001, qop=auth," in answer  # neither in quotes: some cameras refuse that


@pytest.mark.parametrize(
    ("qop", "expected"),
    [(', qop="auth,auth-int"', "6629fae49393a05397450978507c4ef1"), ("", "670fd8c2df070c60b045671b8b24ff02")],
)
def test_examples_of_rfc_2617_and_2069_are_answered_as_they_say(qop: str, expected: str) -> None:
    answer = digest_answer(
        challenge(f'Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"{qop}'),
        username="Mufasa",
        password="Circle Of Life",
        target="/dir/index.html",
        count=1,
        cnonce="0a4f113b",
    )
    assert response(answer) == expected
    assert ("cnonce" in answer) == bool(qop)
    assert "algorithm" not in answer


SAME = Challenge(
    scheme="digest", parameters={"realm": "IP Camera(FN636)", "nonce": "66Az==", "qop": "auth", "stale": "FALSE"}
)


@pytest.mark.parametrize(
    "text",
    [
        'Digest realm="IP Camera(FN636)", nonce="66Az==", qop="auth", stale="FALSE"',  # Hikvision
        'Digest qop="auth",realm="IP Camera(FN636)",nonce="66Az==",stale="FALSE"',
        "DIGEST realm='IP Camera(FN636)', nonce='66Az==', qop='auth', stale='FALSE'",
        'digest Realm = "IP Camera(FN636)" , NONCE =66Az== , qop= auth , stale=FALSE',
        'Digest realm="IP Camera(FN636)" nonce="66Az==" qop="auth" stale=FALSE',
        'Digest realm="IP Camera(FN636)"; nonce="66Az=="; qop="auth"; stale=FALSE;',
        'Digest realm="IP Camera(FN636)",nonce="66Az==",qop=auth,stale=FALSE,',
    ],
)
def test_a_challenge_is_read_however_it_is_quoted(text: str) -> None:
    assert challenge(text) == SAME


@pytest.mark.parametrize(
    ("text", "qop"),
    [
        ('qop="auth"', "auth"),
        ('qop="auth-int,auth"', "auth"),
        ("qop=auth,auth-int", "auth"),
        ("qop=auth-int", "auth-int"),
        ("qop=auth-int,auth", "auth"),
        ('qop="AUTH"', "auth"),
        ('qop=""', ""),
        ("x=y", ""),
    ],
)
def test_auth_is_answered_before_auth_int_and_an_absent_qop_as_absent(text: str, qop: str) -> None:
    one = challenge(f'Digest nonce="n", {text}')
    assert one.qop == qop
    assert one.is_answerable


@pytest.mark.parametrize(
    ("written", "algorithm", "is_session"),
    [
        ("MD5", "MD5", False),
        ("md5", "MD5", False),
        ('"MD5"', "MD5", False),
        ("MD5-sess", "MD5", True),
        ("md5-SESS", "MD5", True),
        ("SHA-256", "SHA-256", False),
        ("sha256", "SHA-256", False),
        ("SHA_256", "SHA-256", False),
        ("SHA-256-sess", "SHA-256", True),
        ("SHA-512-256", "SHA-512-256", False),
    ],
)
def test_an_algorithm_is_known_in_any_spelling_and_told_back_as_it_was(
    written: str, algorithm: str, is_session: bool
) -> None:
    one = challenge(f'Digest realm="r", nonce="n", qop="auth", algorithm={written}')
    assert (one.algorithm, one.is_session, one.is_answerable) == (algorithm, is_session, True)
    answer = digest_answer(one, username="u", password="p", target="/", count=1, cnonce="c")
    assert answer.endswith("algorithm=" + written.strip('"'))


@pytest.mark.parametrize("text", ["algorithm=SHA-1", "algorithm=token", 'qop="auth-conf"'])
def test_what_can_not_be_computed_is_not_answered(text: str) -> None:
    assert not challenge(f'Digest nonce="n", {text}').is_answerable
    assert not challenge('Digest realm="no nonce"').is_answerable


def login(mode: Mode = "auto", username: str = "admin", password: str = "12345") -> Login:
    return Login(mode=mode, username=username, password=password, cnonce=lambda: "0a4f113b")


DIGEST, SHA, BASIC = (
    'Digest realm="r", nonce="one", qop="auth"',
    'Digest realm="r", nonce="two", qop="auth", algorithm=SHA-256',
    'Basic realm="r"',
)


@pytest.mark.parametrize(
    "offers", [[DIGEST, SHA, BASIC], [BASIC, DIGEST, SHA], [f"{BASIC}, {DIGEST}, {SHA}"], [f"{SHA},{BASIC}"]]
)
def test_the_strongest_offer_is_answered_in_one_header_or_in_several(offers: list[str]) -> None:
    one = login()
    one.challenged(offers)
    assert "algorithm=SHA-256" in one.header("/")


def test_nothing_is_told_before_the_camera_asks_but_for_basic_by_setting() -> None:
    assert login().header("/") == ""
    assert login("digest").header("/") == ""
    assert login("basic").header("/") == "Basic YWRtaW46MTIzNDU="


@pytest.mark.parametrize(
    ("mode", "offer"), [("digest", BASIC), ("none", BASIC), ("none", DIGEST), ("basic", DIGEST), ("auto", "NTLM")]
)
def test_an_offer_against_the_setting_is_not_answered(mode: Mode, offer: str) -> None:
    with pytest.raises(CameraFault) as told:
        login(mode).challenged([offer])
    assert told.value.reason is Reason.LOGIN_UNKNOWN


def test_a_camera_without_a_login_set_is_told_of_by_the_settings_to_make() -> None:
    with pytest.raises(CameraFault, match="username and password_file"):
        login(username="").challenged([DIGEST])


def test_after_digest_a_camera_that_asks_for_basic_gets_no_password() -> None:
    one = login()
    one.challenged([DIGEST])
    one.header("/")
    one.begin()
    with pytest.raises(CameraFault) as told:
        one.challenged([BASIC])
    assert told.value.reason is Reason.LOGIN_UNKNOWN
    assert one.header("/") == ""


def test_the_next_picture_uses_the_nonce_again_and_counts_on() -> None:
    one = login()
    one.challenged([DIGEST])
    assert "nc=00000001" in one.header("/")
    one.begin()
    assert "nc=00000002" in one.header("/")
    one.challenged([DIGEST.replace("one", "three")])
    assert 'nonce="three"' in (again := one.header("/"))
    assert "nc=00000001" in again


def test_a_wrong_password_is_told_once_in_a_call() -> None:
    one = login()
    one.challenged([DIGEST])
    one.header("/")
    with pytest.raises(CameraFault) as told:
        one.challenged([DIGEST])
    assert told.value.reason is Reason.LOGIN_REFUSED


def test_a_stale_nonce_is_replaced_once_in_a_call() -> None:
    one = login()
    one.challenged([DIGEST])
    one.header("/")
    one.challenged([f"{DIGEST}, stale=true"])
    one.header("/")
    with pytest.raises(CameraFault) as told:
        one.challenged([f"{DIGEST}, stale=true"])
    assert told.value.reason is Reason.LOGIN_REFUSED


@pytest.mark.parametrize("mode", ["auto", "basic"])
def test_a_wrong_password_for_basic_is_told_once(mode: Mode) -> None:
    one = login(mode)
    if mode == "auto":
        one.challenged([BASIC])
    assert one.header("/")
    with pytest.raises(CameraFault) as told:
        one.challenged([BASIC])
    assert told.value.reason is Reason.LOGIN_REFUSED


def test_a_login_beyond_ascii_goes_out_as_utf_8_and_a_realm_as_it_came() -> None:
    one = login(username="jäger", password="pä:ss")
    one.challenged(['Digest realm="K\xfcche \\"1\\"", nonce="n"'])
    header = one.header("/").encode("latin-1")
    assert 'username="jäger"'.encode() in header
    assert b'realm="K\xfcche \\"1\\""' in header
