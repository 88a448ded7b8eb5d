"""Two identity providers that we did not write, npm oidc-provider and PyPI nanoidp, and `forgeline serve` that takes their
tokens: discovery as a client makes it, scopes, rotation, retirement and outage of keys.

Usage: python providers.py PATH-OF-FORGELINE NANOIDP
Needs `npm ci` run in this folder."""

import base64
import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
BIN = HERE / "node_modules" / ".bin"
NODE = shutil.which("node", path=f"{BIN}{os.pathsep}{os.environ['PATH']}")
BEARER = "0123456789abcdef0123456789abcdef"
PLAIN = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@contextlib.contextmanager
def serving(command, announces, **options):
    """A program that serves until the block ends, once its output holds `announces`."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    try:
        said = ""
        for line in process.stdout:
            said += line
            if re.search(announces, line):
                break
        else:
            raise SystemExit(f"{command[0]} ended before it served:\n{said}")
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield
    finally:
        process.terminate()
        process.wait(30)


def ask(url, data=None, headers=None):
    """Status, headers and body of an answer, whatever its status."""
    request = urllib.request.Request(url, data, headers or {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.headers, answer.read().decode()


def call(url, bearer, method, params=None):
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}
    headers = {"content-type": "application/json", "accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25"}
    if bearer:
        headers["authorization"] = f"Bearer {bearer}"
    return ask(url, json.dumps(message).encode(), headers)


def token(endpoint, client, secret, **more):
    """An access token by client credentials, for everything in `more`."""
    form = urllib.parse.urlencode({"grant_type": "client_credentials", **more}).encode()
    login = base64.b64encode(f"{client}:{secret}".encode()).decode()
    headers = {"authorization": f"Basic {login}", "content-type": "application/x-www-form-urlencoded"}
    status, _, body = ask(endpoint, form, headers)
    assert status == 200, (status, body)
    return json.loads(body)["access_token"]


def eventually(what, holds, seconds=30):
    """Keys are asked for again after a cool-down of ten seconds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.2)


def discovered(url):
    """From the 401 to the token endpoint, as a client of MCP finds it; also the scopes that it is told to ask for."""
    status, headers, _ = call(url, None, "tools/list")
    assert status == 401 and "error=" not in headers["www-authenticate"], headers
    challenge = dict(re.findall(r'(\w+)="([^"]*)"', headers["www-authenticate"]))
    _, _, body = ask(challenge["resource_metadata"])
    resource = json.loads(body)
    assert resource["resource"] == url, resource
    issuer = resource["authorization_servers"][0]
    _, _, body = ask(f"{issuer}/.well-known/openid-configuration")
    provider = json.loads(body)
    assert provider["issuer"] == issuer, provider
    return provider["token_endpoint"], challenge["scope"]


def forgeline(program, port, issuer, service):
    # The name of the sandbox's own process is the one that may do everything; here only the issuer's service may.
    environment = {**PLAIN, "FORGELINE_STATIC_TOKEN": BEARER, "DEX_ISSUER_URL": issuer, "FORGELINE_OIDC_SERVICES": service}
    command = [program, "serve", "--sandbox", "--listen", f"127.0.0.1:{port}"]
    return serving(command, "forgeline serves MCP", env=environment)


def scopes_hold(url, endpoint, client, secret):
    reader = token(endpoint, client, secret, scope="forgeline:read", resource=url)
    assert call(url, reader, "tools/list")[0] == 200
    create = {"name": "project_create", "arguments": {"name": "shop"}}
    status, headers, _ = call(url, reader, "tools/call", create)
    assert status == 403 and 'scope="forgeline:read forgeline:create"' in headers["www-authenticate"], headers
    maker = token(endpoint, client, secret, scope="forgeline:read forgeline:create", resource=url)
    status, _, body = call(url, maker, "tools/call", create)
    assert status == 200 and json.loads(body)["result"]["structuredContent"]["state"] == "succeeded", body
    return reader


def oidc_provider(program):
    port, mine = free_port(), free_port()
    url, issuer = f"http://127.0.0.1:{mine}/mcp", f"http://127.0.0.1:{port}"

    def order(what):
        assert ask(f"{issuer}/order/{what}")[0] == 200

    def fresh():
        return token(f"{issuer}/token", "robot", "robot-secret", scope="forgeline:read", resource=url)

    def status(bearer):
        return call(url, bearer, "tools/list")[0]

    with serving([NODE, HERE / "provider.mjs", str(port), url], "listening on"):
        with forgeline(program, mine, issuer, "robot"):
            endpoint, scopes = discovered(url)
            assert scopes == "forgeline:read forgeline:create", scopes
            first = scopes_hold(url, endpoint, "robot", "robot-secret")
            other = token(endpoint, "robot", "robot-secret", scope="forgeline:read", resource="https://elsewhere.example.org/mcp")
            assert status(other) == 401, "a token for another resource"
            order("rotate")
            second = fresh()
            eventually("a new key counts", lambda: status(second) == 200)
            assert status(first) == 200, "the old key is still published"
            order("down")
            assert status(first) == 200 and status(second) == 200, "known keys count while the issuer is down"
            order("up")
            order("rotate")
            order("retire")
            third = fresh()
            eventually("the newest key counts", lambda: status(third) == 200)
            assert status(first) == 401 and status(second) == 401, "retired keys do not"
        order("down")
        with forgeline(program, mine, issuer, "robot"):
            assert status(BEARER) == 200, "static bearers work without the issuer"
            waiting, headers, _ = call(url, third, "tools/list")
            assert waiting == 503 and int(headers["retry-after"]) >= 1, (waiting, headers)
            order("up")
            eventually("the issuer is back", lambda: status(third) == 200)
    print("oidc-provider 9.13.3: discovery, scopes, audience, rotation, retirement, outage, outage at the start")


def nanoidp(program, binary):
    port, mine = free_port(), free_port()
    url, issuer = f"http://127.0.0.1:{mine}/mcp", f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as home:
        config = pathlib.Path(home) / "config"
        config.mkdir()
        names = ["openid", "forgeline:read", "forgeline:create"]
        settings = {
            "config_version": 1,
            "server": {"host": "127.0.0.1", "port": port},
            "oauth": {
                "issuer": issuer, "audience": "somebody-else", "token_expiry_minutes": 5, "require_pkce": True, "scopes_supported": names,
                "clients": [{"client_id": "forgeline", "client_secret": "forgeline-secret", "redirect_uris": [f"http://127.0.0.1:{mine}/cb"]}],
            },
        }
        # JSON is YAML too.
        (config / "settings.yaml").write_text(json.dumps(settings))
        users = {"ada": {"password": "x", "email": "ada@example.org", "roles": ["USER"], "tenant": "default"}}
        (config / "users.yaml").write_text(json.dumps({"config_version": 1, "users": users}))
        log = open(pathlib.Path(home) / "log", "w+")
        process = subprocess.Popen([binary, "--config", config, "--profile", "oauth21"], stdout=log, stderr=log, cwd=home)
        try:
            def up():
                with contextlib.suppress(OSError):
                    return ask(f"{issuer}/.well-known/openid-configuration")[0] == 200
                assert process.poll() is None, pathlib.Path(log.name).read_text()

            eventually("nanoidp serves", up)
            with forgeline(program, mine, issuer, "forgeline"):
                endpoint, _ = discovered(url)
                scopes_hold(url, endpoint, "forgeline", "forgeline-secret")
                elsewhere = token(endpoint, "forgeline", "forgeline-secret", scope="forgeline:read")
                assert call(url, elsewhere, "tools/list")[0] == 401, "a token for another audience"
        finally:
            process.terminate()
            process.wait(30)
    print("nanoidp 3.4.0: discovery, scopes, audience")


program, binary = sys.argv[1:3]
oidc_provider(pathlib.Path(program).resolve())
nanoidp(pathlib.Path(program).resolve(), pathlib.Path(binary).resolve())
