"""What the executables beside this file share: building, starting and measuring. Standard library only."""

import atexit
import datetime
import hashlib
import hmac
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
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
    """The release binary, built if need be."""
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

    def __init__(self, program, *options, s3_root=None, s3=True):
        command = [program, "simulate", "--listen", "127.0.0.1:0", "--key", KEY, *map(str, options)]
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
    now = datetime.datetime.now(datetime.timezone.utc)
    stamp, day, host = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d"), endpoint.split("//")[1]
    empty = hashlib.sha256(b"").hexdigest()
    headers = {"host": host, "x-amz-content-sha256": empty, "x-amz-date": stamp}
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    request = f"GET\n/{bucket}\n{query}=\n{lines}\n{names}\n{empty}"
    scope = f"{day}/us-east-1/s3/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = ("AWS4" + SECRET_KEY).encode()
    for part in (day, "us-east-1", "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    headers["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{bucket}?{query}=", headers=headers)) as answer:
        return answer.read().decode()
