"""The figures of a release: cold start, idle memory, binary size, wall time of one create, requests per upstream.

Usage: python3 benches/measure.py target/release/forgeline
Linux only: reads /proc. Prints medians of several runs with the spread.
"""

import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

PROGRAM = sys.argv[1]
BEARER = "0123456789abcdef0123456789abcdef"
PLAIN = {name: os.environ[name] for name in ("PATH", "TMPDIR", "HOME") if name in os.environ}


def post(url, body, headers):
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def sandbox(latency):
    process = subprocess.Popen(
        [PROGRAM, "sandbox", "--latency", latency], env=PLAIN, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    env = {}
    for line in process.stdout:
        name, value = re.match(r"export (\w+)='(.*)'", line).groups()
        env[name] = value
        if name == "FORGELINE_SANDBOX_SECOND_TOKEN":
            return process, env


def requests(env):
    headers = {"Authorization": f"Bearer {env['FORGELINE_SANDBOX_TOKEN']}"}
    request = urllib.request.Request(env["FORGELINE_SANDBOX_URL"] + "/requests", headers=headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def serve(env, data_dir):
    """Starts a server and answers process, address, and the milliseconds until its first MCP answer."""
    port = free_port()
    own = {"FORGELINE_STATIC_TOKEN": BEARER, "FORGELINE_DATA_DIR": data_dir, "FORGELINE_LISTEN": f"127.0.0.1:{port}"}
    began = time.perf_counter()
    process = subprocess.Popen([PROGRAM, "serve"], env={**PLAIN, **env, **own}, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/mcp"
    while True:
        try:
            rpc(url, "tools/list", {})
            return process, url, (time.perf_counter() - began) * 1000
        except OSError:
            if process.poll() is not None:
                raise SystemExit("the server ended")


def rpc(url, method, params):
    headers = {
        "Authorization": f"Bearer {BEARER}",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2025-11-25",
    }
    return post(url, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, headers)


def show(what, values, unit):
    middle, low, high = statistics.median(values), min(values), max(values)
    print(f"{what}: {middle:.1f} {unit} (median of {len(values)}, {low:.1f} to {high:.1f})")


def main():
    print(f"binary: {os.path.getsize(PROGRAM):,} bytes, stripped")
    world, env = sandbox("0ms")
    colds, memories = [], []
    for _ in range(9):
        with tempfile.TemporaryDirectory() as data_dir:
            process, _, cold = serve(env, data_dir)
            colds.append(cold)
            with open(f"/proc/{process.pid}/status") as status:
                memories.append(int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) / 1024)
            process.terminate()
            process.wait()
    world.terminate()
    show("cold start to the first MCP answer", colds, "ms")
    show("idle RSS of serve without the sandbox", memories, "MiB")
    for latency in ("0ms", "50ms"):
        command_line(latency)
        warm_server(latency)


def command_line(latency):
    walls, seen = [], []
    for round_ in range(7):
        world, env = sandbox(latency)
        with tempfile.TemporaryDirectory() as data_dir:
            began = time.perf_counter()
            subprocess.run(
                [PROGRAM, "create", "shop"], env={**PLAIN, **env, "FORGELINE_DATA_DIR": data_dir}, check=True, capture_output=True
            )
            walls.append((time.perf_counter() - began) * 1000)
        seen = requests(env)
        world.terminate()
    show(f"create on the command line, cold, latency {latency}", walls, "ms")
    counts = {}
    for request in seen:
        counts[request["system"]] = counts.get(request["system"], 0) + 1
    print("  requests:", counts)


def warm_server(latency):
    world, env = sandbox(latency)
    with tempfile.TemporaryDirectory() as data_dir:
        process, url, _ = serve(env, data_dir)
        firsts, repeats = [], []
        for round_ in range(11):
            for walls in (firsts, repeats):
                began = time.perf_counter()
                call = {"name": "project_create", "arguments": {"name": f"shop-{round_}"}}
                view = rpc(url, "tools/call", call)["result"]["structuredContent"]
                walls.append((time.perf_counter() - began) * 1000)
                assert view["state"] == "succeeded", view
        # The first call connects; what follows is warm.
        show(f"project_create on a warm server, latency {latency}", firsts[1:], "ms")
        show(f"project_create repeated (observes all five), latency {latency}", repeats[1:], "ms")
        process.terminate()
        process.wait()
    world.terminate()


main()
