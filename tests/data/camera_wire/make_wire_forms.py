"""Writes the wire forms beside it: answers of cameras, byte for byte, each with one picture in it.

Where a form was seen is beside it. ``.close``: the camera then closes; ``.open``: it goes on, or keeps the connection.
Run again only to add forms: python tests/data/camera_wire/make_wire_forms.py
"""

import gzip
import zlib
from pathlib import Path

from gateway.simulators.fruit import FruitKind, fruit_jpeg

HERE = Path(__file__).parent
PICTURE = HERE / "picture.jpg"


def picture() -> bytes:
    if not PICTURE.exists():
        PICTURE.write_bytes(fruit_jpeg(7, kind=FruitKind.BANANA, ripe=True, size=(160, 120)))
    return PICTURE.read_bytes()


def head(*lines: str, first: str = "HTTP/1.1 200 OK", end: str = "\r\n") -> bytes:
    return (end.join([first, *lines]) + 2 * end).encode("latin-1")


def chunks(data: bytes, *, end: bytes = b"\r\n", last: bytes = b"0\r\n\r\n", form: str = "{:x}") -> bytes:
    parts = [data[:1000], data[1000:1001], data[1001:]]
    return b"".join(form.format(len(part)).encode() + end + part + end for part in parts) + last


def forms() -> dict[str, bytes]:
    p = picture()
    n = len(p)
    jpeg, length = "Content-Type: image/jpeg", f"Content-Length: {n}"
    return {
        "plain.close": head(jpeg, length, "Connection: close") + p,
        # Axis 2100 and its like: HTTP/1.0, no length.
        "http10-no-length.close": head(jpeg, "Pragma: no-cache", first="HTTP/1.0 200 OK") + p,
        # VStarcam, GoAhead: a date without a name. home-assistant/core#14960, #46600, #151745.
        "line-without-colon.close": head(
            "Server: GoaHead", "Tue, 12 Jun 2012 01:56:34 GMT", "Content-Type:image/jpeg", f"Content-Length:{n}"
        )
        + p,
        # home-assistant/core#38673.
        "space-before-colon.close": head("X-Frame-Options : SAMEORIGIN", jpeg, f"Content-Length:{n}") + p,
        "bare-lf.close": head(jpeg, length, end="\n") + p,
        "mixed-line-ends.close": f"HTTP/1.0 200 OK\n{jpeg}\r\n{length}\n\r\n".encode() + p,
        "empty-lines-first.close": b"\r\n\r\n" + head(jpeg, length) + p,
        "no-reason.close": head(jpeg, length, first="HTTP/1.1 200") + p,
        "no-space-after-status.close": head(jpeg, length, first="HTTP/1.0 200OK") + p,
        "lower-case-version.close": head(jpeg, length, first="http/1.1 200 ok") + p,
        "icy.close": head(jpeg, first="ICY 200 OK") + p,
        "no-head-at-all.close": p,
        "folded-line.close": head(jpeg, "X-Model: one\r\n two", length) + p,
        "control-characters.close": head("Server: cam\x01\x02\xb2", "X-\xe9t\xe9: 1", jpeg, length) + p,
        "interim-100.close": head(first="HTTP/1.1 100 Continue") + head(jpeg, length) + p,
        # Dahua, Lorex: 48 bytes too many, or too few. openvideolibs/python-onvif-zeep-async#130, home-assistant #47511.
        "length-too-large.close": head(jpeg, f"Content-Length: {n + 48}") + p,
        "length-too-small.close": head(jpeg, f"Content-Length: {n - 48}") + p,
        "length-too-small.open": head(jpeg, f"Content-Length: {n - 48}") + p,
        "length-zero.close": head(jpeg, "Content-Length: 0") + p,
        "length-negative.close": head(jpeg, "Content-Length: -1") + p,
        "length-no-number.close": head(jpeg, "Content-Length: unknown") + p,
        "two-lengths.close": head(jpeg, f"Content-Length: {n - 1}", length) + p,
        "no-length.open": head(jpeg, "Connection: keep-alive") + p,
        "wrong-type.close": head("Content-Type: text/html", length) + p,
        "no-type.close": head(length) + p,
        "identity.close": head(jpeg, "Transfer-Encoding: identity", length) + p,
        # A stamp behind the end of the picture, and its length in Content-Length.
        "junk-behind.close": head(jpeg, f"Content-Length: {n + 24}") + p + b"\0\0\0\0TS=1622547800.123456",
        # A Dahua doorbell: a block of its recordings' format behind the picture. rroller/dahua#658.
        "junk-behind-dahua.close": head(jpeg, f"Content-Length: {n + 8}") + p + b"dhav\x59\x19\x01\x00",
        # ZoneMinder/zoneminder#758: the begin of the picture, and then the picture; libjpeg takes no such thing.
        "begin-twice.close": head(jpeg, f"Content-Length: {n + 2}") + p[:2] + p,
        # GuilhermeC18/node-onvif#33: the type of a stream, and one picture.
        "typed-as-stream.close": head("Content-Type: multipart/x-mixed-replace;boundary=ipcam264", length) + p,
        "junk-before.close": head(jpeg) + b"\r\n\r\n" + p,
        "chunked.close": head(jpeg, "Transfer-Encoding: chunked") + chunks(p),
        "chunked-http10.close": head(jpeg, "Transfer-Encoding: chunked", first="HTTP/1.0 200 OK") + chunks(p),
        "chunked-bare-lf.open": head(jpeg, "Transfer-Encoding: chunked") + chunks(p, end=b"\n", last=b"0\n\n"),
        "chunked-no-end.close": head(jpeg, "Transfer-Encoding: chunked") + chunks(p, last=b""),
        "chunked-spaces.close": head(jpeg, "Transfer-Encoding: Chunked") + chunks(p, form="{:08X}  ; x=1"),
        "chunked-with-length.close": head(jpeg, "Content-Length: 5", "Transfer-Encoding: chunked") + chunks(p),
        "chunked-not-at-all.close": head(jpeg, "Transfer-Encoding: chunked") + p,
        "gzip.close": head(jpeg, "Content-Encoding: gzip") + gzip.compress(p, mtime=0),
        "gzip-not-at-all.close": head(jpeg, "Content-Encoding: gzip", length) + p,
        "gzip-not-told.close": head(jpeg) + gzip.compress(p, mtime=0),
        "deflate.close": head(jpeg, "Content-Encoding: deflate") + zlib.compress(p),
        "deflate-bare.close": head(jpeg, "Content-Encoding: deflate") + zlib.compress(p)[2:-4],
        **mjpeg_forms(p),
    }


def mjpeg_forms(p: bytes) -> dict[str, bytes]:
    n = len(p)
    replace = "Content-Type: multipart/x-mixed-replace"
    jpeg, length = "Content-Type: image/jpeg", f"Content-Length: {n}"

    def part(boundary: str, *lines: str, end: str = "\r\n") -> bytes:
        return (end.join([boundary, *lines]) + 2 * end).encode() + p + end.encode()

    def stream(kind: str, one: bytes, *, first: str = "HTTP/1.0 200 OK") -> bytes:
        return head(kind, first=first) + one + one

    esp32 = (f"\r\n--123456789000000000000987654321\r\n{jpeg}\r\n{length}\r\n\r\n").encode() + p
    return {
        # MJPG-Streamer.
        "mjpeg-streamer.open": stream(
            f"{replace};boundary=boundarydonotcross",
            part("--boundarydonotcross", jpeg, length, "X-Timestamp: 0.000000"),
        ),
        # The ESP32 camera example: in chunks.
        "mjpeg-esp32.open": head(f"{replace};boundary=123456789000000000000987654321", "Transfer-Encoding: chunked")
        + chunks(esp32, last=b"")
        + chunks(esp32, last=b""),
        # Sony SNC, Panasonic HE: the dashes are declared. janakj/py-mjpeg#2, scottlamb/multipart-stream-rs#2.
        "mjpeg-dashes-declared.open": stream(f"{replace}; boundary=--myboundary", part("--myboundary", jpeg, length)),
        # Panasonic BL: a space before the sign. legege/node-mjpeg-proxy#8.
        "mjpeg-space-declared.open": stream(f"{replace};boundary =--myboundary", part("--myboundary", jpeg, length)),
        "mjpeg-quoted.open": stream(f'{replace}; boundary="my boundary"', part("--my boundary", jpeg, length)),
        "mjpeg-no-dashes-sent.open": stream(f"{replace}; boundary=--frame", part("frame", jpeg, length)),
        "mjpeg-other-boundary.open": stream(f"{replace}; boundary=one", part("--two", jpeg)),
        "mjpeg-not-declared.open": stream(f"{replace}", part("--frame", jpeg)),
        # scottlamb/multipart-stream-rs#3.
        "mjpeg-no-part-length.open": stream(f"{replace}; boundary=frame", part("--frame", jpeg)),
        "mjpeg-no-part-head.open": stream(f"{replace}; boundary=frame", part("--frame")),
        "mjpeg-wrong-part-length.open": stream(f"{replace}; boundary=f", part("--f", jpeg, "Content-Length: 100")),
        "mjpeg-bare-lf.open": head(f"{replace}; boundary=--myboundary", first="HTTP/1.0 200 OK", end="\n")
        + 2 * part("--myboundary", f"Content-length: {n}", jpeg, end="\n"),
        # Tasmota, yoursunny/esp32cam#67: the first boundary is missing.
        "mjpeg-no-first-boundary.open": stream(
            f"{replace};boundary=e8b8c539", f"{jpeg}\r\n{length}\r\n\r\n".encode() + p + b"\r\n--e8b8c539\r\n"
        ),
        # The same with the part's head in the answer's. arendst/Tasmota#12376.
        "mjpeg-two-types.open": head(f"{replace};boundary=e8b8c539", jpeg, length)
        + p
        + f"\r\n--e8b8c539\r\n{jpeg}\r\n{length}\r\n\r\n".encode()
        + p,
        # Foscam G2. AlexxIT/go2rtc#1258.
        "mjpeg-boundary-twice.open": head(f"{replace};boundary=ThisString")
        + b"--ThisString\r\n"
        + 2 * part("--ThisString", jpeg, length),
        # AlexxIT/go2rtc#545: each boundary as if it were the last.
        "mjpeg-end-dashes.open": stream(
            f"{replace}; boundary=data-boundary", part("--data-boundary--", jpeg, length, "X-UtcTime:1690526144")
        ),
        # Trendnet TV-IP302PI. ZoneMinder/zoneminder#692.
        "mjpeg-part-type-size.open": stream(
            f"{replace}; boundary=frame", part("--frame", "Content-Type: image/jpeg;size=640x480", length)
        ),
        # D-Link DCS-930 and others: no number. sarxos/webcam-capture#441, mylisabox/flutter_mjpeg#41.
        "mjpeg-part-length-no-number.open": stream(
            f"{replace}; boundary=frame", part("--frame", jpeg, f"Content-Length: {n} bytes")
        ),
        # ffmpeg -f mpjpeg -listen 1. ArduPilot/MissionPlanner#3604.
        "mjpeg-octet-stream.open": stream("Content-Type: application/octet-stream", part("--ffmpeg", jpeg)),
        "mjpeg-preamble.open": head(f"{replace}; boundary=frame")
        + b"This is a multipart stream.\r\n\r\n"
        + 2 * part("--frame", jpeg, length),
        "mjpeg-typed-as-picture.open": stream(jpeg, part("--frame", jpeg, length)),
    }


if __name__ == "__main__":
    for name, data in forms().items():
        (HERE / f"{name}.wire").write_bytes(data)
