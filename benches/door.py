"""What strangers cost: `python3 benches/door.py PATH-OF-FORGELINE [REQUESTS]`.

Starts `forgeline serve --sandbox` twice: with its usual limit on refusals, and with a limit so high that every stranger gets
a 401. Sends REQUESTS (50,000) unauthenticated requests from 32 connections each time and prints how the memory of the
server grew, and how fast a known caller was served meanwhile."""

import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time

BEARER = "0123456789abcdef0123456789abcdef"
BODY = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


def resident(process):
    status = open(f"/proc/{process.pid}/status").read()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def serve(program, per_second):
    environment = {"PATH": os.environ["PATH"], "FORGELINE_STATIC_TOKEN": BEARER, "FORGELINE_UNAUTHENTICATED_PER_SECOND": str(per_second)}
    command = [program, "serve", "--sandbox", "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    for line in process.stderr:
        if found := re.search(r"http://(\S+)/mcp", line):
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return process, found[1]
    raise SystemExit("the server did not start")


def ask(connection, bearer):
    connection.request("POST", "/mcp", BODY, {**HEADERS, "authorization": f"Bearer {bearer}"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def flood(host, count, seen):
    connection = http.client.HTTPConnection(host)
    for _ in range(count):
        try:
            status = ask(connection, "a-stranger")
        except (http.client.HTTPException, OSError):
            connection.close()
            continue
        seen[status] = seen.get(status, 0) + 1


def measure(program, per_second, requests):
    process, host = serve(program, per_second)
    try:
        known = http.client.HTTPConnection(host)
        for _ in range(50):
            assert ask(known, BEARER) == 200
        before, counts, threads = resident(process), [], []
        for _ in range(32):
            counts.append({})
            threads.append(threading.Thread(target=flood, args=(host, requests // 32, counts[-1])))
        began = time.monotonic()
        for thread in threads:
            thread.start()
        times = []
        while any(thread.is_alive() for thread in threads):
            start = time.monotonic()
            assert ask(known, BEARER) == 200
            times.append(time.monotonic() - start)
            time.sleep(0.02)
        took = time.monotonic() - began
        total = {}
        for count in counts:
            for status, number in count.items():
                total[status] = total.get(status, 0) + number
        after = resident(process)
        print(f"{per_second} refusals/s allowed: {total} in {took:.1f} s; RSS {before:.1f} -> {after:.1f} MiB "
              f"(+{after - before:.1f}); a known caller meanwhile: median {statistics.median(times) * 1000:.1f} ms of {len(times)}")
    finally:
        process.terminate()
        process.wait(60)


wanted = int(sys.argv[2]) if len(sys.argv) > 2 else 50_000
measure(sys.argv[1], 10, wanted)
measure(sys.argv[1], 1_000_000, wanted)
