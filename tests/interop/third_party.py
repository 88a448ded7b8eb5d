"""`forgeline create` through third-party gitea-mcp servers, the real ones: PyPI gitea-mcp and npm gitea-mcp.

Usage: python third_party.py PATH-OF-FORGELINE [DIRECTORY]

Installs both (pinned) into DIRECTORY, or into a temporary one, runs each in front of the Gitea of a fresh sandbox, and
proves by what the server itself sent to Gitea that its tools did the work. Needs Python 3.11 with venv, node and npm.
"""

import http.client
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PYPI = ("gitea-mcp==0.5.1", "fastmcp==2.14.7")
NPM = "gitea-mcp@0.0.10"
PROJECT = "shop-x"

# The npm server listens on all interfaces and cannot be told otherwise.
LOOPBACK = """import net from "node:net";
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, ...rest) { return listen.call(this, port, "127.0.0.1", ...rest); };
"""


class Tap:
    """A proxy in front of Gitea that remembers what passed: only the third-party server knows its address."""

    def __init__(self, gitea, takes_query_tokens):
        self.seen = []
        upstream = urllib.parse.urlsplit(gitea)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def answer(handler):
                body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
                drop = {"host", "connection", "content-length"}
                headers = {name: value for name, value in handler.headers.items() if name.lower() not in drop}
                url = urllib.parse.urlsplit(handler.path)
                query = urllib.parse.parse_qsl(url.query)
                token = dict(query).get("access_token")
                if token and not takes_query_tokens:
                    headers["Authorization"] = f"token {token}"
                    query = [(name, value) for name, value in query if name != "access_token"]
                path = url.path + (f"?{urllib.parse.urlencode(query)}" if query else "")
                connection = http.client.HTTPConnection(upstream.hostname, upstream.port, timeout=60)
                connection.request(handler.command, path, body or None, headers)
                reply = connection.getresponse()
                data = reply.read()
                self.seen.append((handler.command, url.path, reply.status, handler.headers.get("user-agent", "")))
                handler.send_response(reply.status)
                for name, value in reply.getheaders():
                    if name.lower() not in {"content-length", "transfer-encoding", "connection", "date"}:
                        handler.send_header(name, value)
                handler.send_header("content-length", str(len(data)))
                handler.end_headers()
                handler.wfile.write(data)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def writes(self):
        return sorted((method, path, status) for method, path, status, _ in self.seen if method != "GET")


def install(directory):
    """Installs both servers and answers how each is started."""
    venv, prefix, preload = directory / "venv", directory / "npm", directory / "loopback.mjs"
    if not (venv / "bin" / "gitea-mcp").exists():
        run([sys.executable, "-m", "venv", venv])
        run([venv / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", *PYPI])
    main = prefix / "node_modules" / "gitea-mcp" / "dist" / "streamableHttp.js"
    if not main.exists():
        prefix.mkdir(parents=True, exist_ok=True)
        run(["npm", "install", "--prefix", prefix, "--no-audit", "--no-fund", "--loglevel=error", NPM])
    preload.write_text(LOOPBACK)
    return venv / "bin" / "gitea-mcp", preload, main


def run(command):
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)


def pypi(programs, port, gitea, token):
    command = [programs[0], "serve", "--transport", "http", "--host", "127.0.0.1", "--port", port, "--path", "/mcp"]
    # Without retries: it would send a POST again after 429, even when its caller has gone.
    settings = {"GITEA_URL": gitea, "GITEA_TOKEN": token, "GITEA_MAX_RETRIES": "0", "FASTMCP_CHECK_FOR_UPDATES": "off"}
    return command, settings


def npm(programs, port, gitea, token):
    command = ["node", "--import", programs[1], programs[2]]
    return command, {"PORT": port, "GITEA_HOST": gitea, "GITEA_ACCESS_TOKEN": token}


def start(command, settings, output):
    environment = {name: os.environ[name] for name in ("PATH", "TMPDIR", "HOME") if name in os.environ} | settings
    command = [str(part) for part in command]
    return subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def wait_for(process, port, log):
    for _ in range(300):
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", int(port)), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"the server did not start:\n{log.read_text()}")


def sandbox(program):
    """Starts a sandbox and answers the process and the variables that it prints."""
    process = subprocess.Popen([program, "sandbox"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    variables = {}
    for line in process.stdout:
        found = re.match(r"export (\w+)='(.*)'$", line)
        if found:
            variables[found[1]] = found[2]
        if "FORGELINE_SANDBOX_SECOND_TOKEN" in variables:
            return process, variables
    raise SystemExit("the sandbox ended before it printed its variables")


def requests(variables):
    """What reached the sandbox, by whomever."""
    request = urllib.request.Request(
        variables["FORGELINE_SANDBOX_URL"] + "/requests",
        headers={"Authorization": f"Bearer {variables['FORGELINE_SANDBOX_TOKEN']}"},
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


def takes_query_tokens(variables):
    url = f"{variables['GITEA_URL']}/api/v1/user?access_token={variables['GITEA_TOKEN']}"
    try:
        with urllib.request.urlopen(url, timeout=30) as reply:
            return reply.status == 200
    except urllib.error.HTTPError:
        return False


def check(program, name, server, programs, agent, expected, directory):
    """One project through one server."""
    world, variables = sandbox(program)
    log, port, process = directory / f"{name}.log", free_port(), None
    try:
        tap = Tap(variables["GITEA_URL"], takes_query_tokens(variables))
        with log.open("w") as output:
            process = start(*server(programs, port, tap.url, variables["GITEA_TOKEN"]), output)
        wait_for(process, port, log)
        # Neither server checks it; the npm one makes it its session id and logs it, so it is no Gitea token.
        mine = {"GITEA_MCP_URL": f"http://127.0.0.1:{port}/mcp", "GITEA_MCP_TOKEN": f"caller-{secrets.token_hex(16)}"}
        environment = {"PATH": os.environ["PATH"]} | variables | mine
        command = [program, "create", PROJECT, "-o", "json"]
        made = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=300)
        sent = tap.writes()
        said = f"{name}: exit {made.returncode}\n{made.stdout}{made.stderr}\nsent to Gitea: {tap.seen}"
        assert made.returncode == 0, said
        answer = json.loads(made.stdout)
        assert answer["state"] == "succeeded", said
        assert all(answer["artifacts"].values()), said
        assert [(method, path) for method, path, _ in sent] == sorted(expected), said
        assert all(status == 201 for _, _, status in sent), said
        assert any(path == "/api/v1/user" for _, path, _, _ in tap.seen), f"nobody asked who we are\n{said}"
        assert all(seen[3].startswith(agent) for seen in tap.seen), said
        logged = requests(variables)
        for operation in ("POST /user/repos", "POST /repos/{owner}/{name}/issues"):
            mine = [entry for entry in logged if entry["system"] == "gitea" and entry["operation"] == operation]
            times = [entry["status"] for entry in mine]
            assert times == [201], f"{operation}: {times}\n{said}"
        assert not any(entry["system"] == "gitea_mcp" for entry in logged), "the sandbox's own gitea-mcp was asked"
        print(f"{name}: succeeded; it sent {', '.join(f'{method} {path}' for method, path, _ in sent)}")
    finally:
        for one in (process, world):
            if one is not None:
                one.terminate()
                one.wait()


def main(program, directory):
    programs = install(directory)
    user = "/api/v1/user/repos"
    issues = f"/api/v1/repos/acme/{PROJECT}/issues"
    # The PyPI server has no tool that creates a repository: forgeline does that over REST.
    servers = [
        ("PyPI gitea-mcp 0.5.1", pypi, "python-httpx", [("POST", issues)]),
        ("npm gitea-mcp 0.0.10", npm, "node", [("POST", user), ("POST", issues)]),
    ]
    failed = 0
    for name, server, agent, expected in servers:
        try:
            check(program, name, server, programs, agent, expected, directory)
        except AssertionError as why:
            failed += 1
            print(f"FAILED {why}")
    print(f"{len(servers) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    forgeline = str(Path(sys.argv[1]).resolve())
    if len(sys.argv) == 3:
        target = Path(sys.argv[2]).resolve()
        target.mkdir(parents=True, exist_ok=True)
        raise SystemExit(main(forgeline, target))
    with tempfile.TemporaryDirectory(prefix="third-party-") as temporary:
        raise SystemExit(main(forgeline, Path(temporary)))
