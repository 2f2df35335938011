"""A Kubernetes API as far as jobs go: each pod is a process in an empty folder of its own.

What it cannot show: absolute paths, which lead to the same disk here, and what the plugin does when
a container fails whose pod is still there (docs/cluster.md).
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

JOBS = "/apis/batch/v1/namespaces/default/jobs"


@dataclass
class Pod:
    """One job's pod: what was asked for, and the process that it is here."""

    spec: dict[str, Any]
    process: subprocess.Popen

    @property
    def container(self) -> dict[str, Any]:
        (container,) = self.spec["spec"]["template"]["spec"]["containers"]
        return container

    def status(self) -> dict[str, int]:
        code = self.process.poll()
        return {} if code is None else {"failed": 1} if code else {"succeeded": 1}


@dataclass
class Kubernetes:
    """All pods that there were, by their jobs' names; `doomed` rules lose their first one."""

    folder: Path
    doomed: set[str] = field(default_factory=set)
    pods: dict[str, Pod] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)

    def start(self, spec: dict[str, Any]) -> None:
        name = spec["metadata"]["name"]
        home = self.folder / name
        home.mkdir()
        # Nothing of this process's environment, as in a container; there, the image has what a pod
        # would ask pip for, and here it does.
        pip = self.folder / "bin/pip"
        if not pip.exists():
            pip.parent.mkdir()
            pip.symlink_to("/bin/true")
        path = [str(pip.parent), str(Path(sys.executable).parent), "/usr/bin", "/bin"]
        (container,) = spec["spec"]["template"]["spec"]["containers"]
        with (self.folder / f"{name}.log").open("w") as log:
            process = subprocess.Popen(
                [*container["command"], *container["args"]],
                cwd=home,
                env={"PATH": os.pathsep.join(path), "HOME": str(home)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pods[name] = Pod(spec, process)
        for rule in [rule for rule in self.doomed if f"--allowed-rules {rule} " in self.said(name)]:
            self.doomed.remove(rule)
            self.lost.append(rule)
            self.end(name)

    def said(self, name: str) -> str:
        return " ".join(self.pods[name].container["args"])

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def end(self, name: str) -> None:
        process = self.pods[name].process
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def handler_of(cluster: Kubernetes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            pass

        def reply(self, content: dict[str, Any], code: int = 200) -> None:
            body = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def content(self) -> dict[str, Any]:
            return json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")

        def do_POST(self) -> None:
            content = self.content()
            if self.path.startswith(JOBS):
                cluster.start(content)
            self.reply(content, 201)

        def do_GET(self) -> None:
            if not self.path.startswith(JOBS):  # pods: the status of their job says enough
                return self.reply({"items": []})
            name = self.path.removeprefix(f"{JOBS}/").split("/")[0]
            return self.reply({"spec": {"template": {}}, "status": cluster.pods[name].status()})

        def do_DELETE(self) -> None:
            self.content()
            name = self.path.removeprefix(f"{JOBS}/").split("?")[0]
            if name in cluster.pods:
                cluster.end(name)
            self.reply({})

    return Handler


@pytest.fixture
def kubernetes(tmp_path_factory) -> Iterator[Kubernetes]:
    """The API, answering where the file `config` in its folder says."""
    if "TEST_CLUSTER" not in os.environ:
        pytest.skip("pods are started by `make test-cluster` alone")
    assert shutil.which("rsync"), "rsync: not there; apt-get install rsync"
    cluster = Kubernetes(tmp_path_factory.mktemp("kubernetes"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(cluster))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
        ],
        "users": [{"name": "me", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "current-context": "here",
    }
    (cluster.folder / "config").write_text(yaml.safe_dump(config))
    try:
        yield cluster
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        for name in cluster.pods:
            cluster.end(name)
