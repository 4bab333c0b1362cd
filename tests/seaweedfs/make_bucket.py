"""Makes the bucket that CONVAULT_TEST_S3_* name, trying for a minute: the server may still be starting.

Signs the one request by hand (AWS Signature Version 4), so that nothing has to be installed for it.
"""

import datetime
import hashlib
import hmac
import os
import sys
import time
import urllib.error
import urllib.request

ENDPOINT = os.environ["CONVAULT_TEST_S3_ENDPOINT"]
ACCESS_KEY = os.environ["CONVAULT_TEST_S3_ACCESS_KEY"]
SECRET_KEY = os.environ["CONVAULT_TEST_S3_SECRET_KEY"]
BUCKET = os.environ["CONVAULT_TEST_S3_BUCKET"]
REGION = "us-east-1"


def sign(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def request() -> urllib.request.Request:
    now = datetime.datetime.now(datetime.timezone.utc)
    moment, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    body_hash = hashlib.sha256(b"").hexdigest()
    host = ENDPOINT.split("//", 1)[1]
    headers = {"host": host, "x-amz-content-sha256": body_hash, "x-amz-date": moment}
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    canonical = f"PUT\n/{BUCKET}\n\n{lines}\n{names}\n{body_hash}"
    scope = f"{day}/{REGION}/s3/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = sign(sign(sign(sign(f"AWS4{SECRET_KEY}".encode(), day), REGION), "s3"), "aws4_request")
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return urllib.request.Request(f"{ENDPOINT}/{BUCKET}", method="PUT", headers=headers, data=b"")


def main() -> int:
    # The server is on this machine: a proxy in the environment must not be asked.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline, last = time.monotonic() + 60, None
    while time.monotonic() < deadline:
        try:
            with opener.open(request(), timeout=10):
                return 0
        except urllib.error.HTTPError as error:
            last = f"{error.code} {error.read()[:200]!r}"
            if error.code == 409:
                return 0
        except OSError as error:
            last = error
        time.sleep(1)
    print(f"the bucket could not be made within a minute: {last}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
