"""Makes the buckets that CONVAULT_TEST_S3_* name, trying for a minute: the server may still be starting.

One is plain, one has Object Lock, one locks every new object by default, and from one nobody may delete. Signs the requests by hand (AWS
Signature Version 4), so that nothing has to be installed for it.
"""

import base64
import datetime
import hashlib
import hmac
import json
import os
import sys
import time
import urllib.error
import urllib.request

ENDPOINT = os.environ["CONVAULT_TEST_S3_ENDPOINT"]
ACCESS_KEY = os.environ["CONVAULT_TEST_S3_ACCESS_KEY"]
SECRET_KEY = os.environ["CONVAULT_TEST_S3_SECRET_KEY"]
PLAIN = os.environ["CONVAULT_TEST_S3_BUCKET"]
LOCKS = os.environ["CONVAULT_TEST_S3_LOCK_BUCKET"]
LOCKED_BY_DEFAULT = os.environ["CONVAULT_TEST_S3_DEFAULT_LOCK_BUCKET"]
APPEND_ONLY = os.environ["CONVAULT_TEST_S3_APPEND_BUCKET"]
REGION = "us-east-1"
# One day is the shortest there is.
DEFAULT_LOCK = (
    b'<ObjectLockConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    b"<ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>"
    b"<Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>"
)
NOBODY_DELETES = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Deny",
                "Principal": {"AWS": "*"},
                "Action": ["s3:DeleteObject", "s3:DeleteObjectVersion"],
                "Resource": [f"arn:aws:s3:::{APPEND_ONLY}/*"],
            }
        ],
    }
).encode()


def sign(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def request(bucket: str, query: str, more: dict[str, str], body: bytes) -> urllib.request.Request:
    now = datetime.datetime.now(datetime.timezone.utc)
    moment, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    body_hash = hashlib.sha256(body).hexdigest()
    host = ENDPOINT.split("//", 1)[1]
    headers = dict(sorted({"host": host, "x-amz-content-sha256": body_hash, "x-amz-date": moment, **more}.items()))
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    signed_query = f"{query}=" if query else ""
    canonical = f"PUT\n/{bucket}\n{signed_query}\n{lines}\n{names}\n{body_hash}"
    scope = f"{day}/{REGION}/s3/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = sign(sign(sign(sign(f"AWS4{SECRET_KEY}".encode(), day), REGION), "s3"), "aws4_request")
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    url = f"{ENDPOINT}/{bucket}" + (f"?{query}" if query else "")
    return urllib.request.Request(url, method="PUT", headers=headers, data=body)


def send(bucket: str, query: str = "", more: dict[str, str] | None = None, body: bytes = b"") -> None:
    # The server is on this machine: a proxy in the environment must not be asked.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline, last = time.monotonic() + 60, None
    while time.monotonic() < deadline:
        try:
            with opener.open(request(bucket, query, more or {}, body), timeout=10):
                return
        except urllib.error.HTTPError as error:
            last = f"{error.code} {error.read()[:200]!r}"
            if error.code == 409:
                return
        except OSError as error:
            last = error
        time.sleep(1)
    raise TimeoutError(f"bucket {bucket} could not be made within a minute: {last}")


def main() -> int:
    with_lock = {"x-amz-bucket-object-lock-enabled": "true"}
    md5 = base64.b64encode(hashlib.md5(DEFAULT_LOCK).digest()).decode()
    try:
        send(PLAIN)
        send(LOCKS, more=with_lock)
        send(LOCKED_BY_DEFAULT, more=with_lock)
        send(LOCKED_BY_DEFAULT, query="object-lock", more={"content-md5": md5}, body=DEFAULT_LOCK)
        send(APPEND_ONLY, more=with_lock)
        send(APPEND_ONLY, query="policy", body=NOBODY_DELETES)
    except TimeoutError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
