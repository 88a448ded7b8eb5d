"""A clean-up over ten thousand repositories: time, requests, memory. Usage: python3 benches/cleanup.py FORGELINE

Starts a sandbox with 20 ms for each request and a server against it, makes 10,000 repositories of three owners without git
objects, of which a part is to be found, and plans, applies in parts, and counts.
"""

import json
import os
import subprocess
import sys
import time
import urllib.request

PROGRAM = sys.argv[1]
OWNERS = [("acme", "load-", 4000), ("acme-org", "load-", 3000), ("someone", "other-", 3000)]


def sandbox():
    process = subprocess.Popen([PROGRAM, "sandbox", "--latency", "20ms"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    env = {}
    for line in process.stdout:
        name, value = line.removeprefix("export ").strip().split("=", 1)
        env[name] = value.strip("'")
        if name == "FORGELINE_SANDBOX_SECOND_TOKEN":
            break
    return process, env


def control(env, what, body=None, method="POST"):
    request = urllib.request.Request(
        f"{env['FORGELINE_SANDBOX_URL']}/{what}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {env['FORGELINE_SANDBOX_TOKEN']}", "Content-Type": "application/json"},
        method=method,
    )
    with urllib.request.urlopen(request) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def rss(pid):
    with open(f"/proc/{pid}/status") as status:
        line = next(line for line in status if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def requests(env):
    count = {}
    for request in control(env, "requests", method="GET"):
        count[request["system"]] = count.get(request["system"], 0) + 1
    control(env, "requests", method="DELETE")
    return count


def call(server, tool, arguments):
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    request = urllib.request.Request(
        server,
        data=json.dumps(body).encode(),
        headers={
            "Authorization": "Bearer " + "b" * 40, "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25",
        },
    )
    with urllib.request.urlopen(request, timeout=900) as answer:
        return json.load(answer)["result"]["structuredContent"]


def main():
    process, env = sandbox()
    port = 3999
    data = subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip()
    for owner, prefix, count in OWNERS:
        control(env, "seed", {"what": "repositories", "forge": "gitea", "owner": owner, "prefix": prefix, "count": count})
    control(env, "seed", {"what": "time_passes", "hours": 72})
    server_env = {
        **env, "PATH": os.environ["PATH"], "FORGELINE_DATA_DIR": data, "FORGELINE_STATIC_TOKEN": "b" * 40,
        "FORGELINE_CLEANUP_OWNERS": ",".join(owner for owner, _, _ in OWNERS),
    }
    server = subprocess.Popen([PROGRAM, "serve", "--listen", f"127.0.0.1:{port}"], env=server_env, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/mcp"
    while True:
        try:
            call(url, "project_list", {})
            break
        except OSError:
            time.sleep(0.05)
    before = rss(server.pid)
    requests(env)
    began = time.monotonic()
    plan = call(url, "cleanup_test_repos", {"match": ["load-*"], "max": 0})
    took = time.monotonic() - began
    deletions = [item["artifact"] for item in plan["items"] if item["action"] != "keep"]
    wanted = {f"gitea:{owner}/{prefix}{number:05}" for owner, prefix, count in OWNERS if prefix == "load-" for number in range(count)}
    assert set(deletions) == wanted and len(deletions) == len(wanted), (len(deletions), len(wanted))
    print(f"plan: {len(deletions)} of 10000 in {took:.1f} s, requests {requests(env)}, RSS {before:.1f} -> {rss(server.pid):.1f} MiB", flush=True)
    done = 0
    began = time.monotonic()
    for part in range(3):
        plan = call(url, "cleanup_test_repos", {"match": [f"load-00{part}*"], "max": 500})
        applied = call(url, "cleanup_test_repos", {"plan_id": plan["plan_id"], "wait_seconds": 300})
        done += sum(item["result"] == "deleted" for item in applied["items"])
    print(f"applied in parts: {done} deleted in {time.monotonic() - began:.1f} s, requests {requests(env)}, RSS {rss(server.pid):.1f} MiB")
    server.terminate()
    process.terminate()


main()
