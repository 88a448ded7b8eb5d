"""Clients that we did not write, and the official conformance suite, against `forgeline serve --sandbox`.

Usage: python run.py PATH-OF-FORGELINE
Needs PyPI `mcp` in this Python, and `npm ci` run in this folder.
"""

import collections
import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
BIN = HERE / "node_modules" / ".bin"
# The suite and the Inspector need Node 22, which npm brings for Linux.
NODE = shutil.which("node", path=f"{BIN}{os.pathsep}{os.environ['PATH']}")
BEARER = "0123456789abcdef0123456789abcdef"
ERAS = {"legacy": "2025-11-25", "modern": "2026-07-28"}


class Failed(Exception):
    """A part did not show what it had to show."""


def run(command, **options):
    """Runs a program to its end; answers its exit code and what it printed."""
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


@contextlib.contextmanager
def serving(command, announces, **options):
    """Runs a program that serves until the block ends; answers what `announces` finds in its output."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    try:
        said = ""
        for line in process.stdout:
            said += line
            if found := re.search(announces, line):
                break
        else:
            raise Failed(f"{command[0]} ended before it served:\n{said}")
        # A pipe that nobody reads would block the program once it is full.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield found[0]
    finally:
        process.terminate()
        process.wait(30)


def script(*command):
    """A client that says itself what it checked, and exits with 0 when all of it held."""

    def part(url):
        ended = run([*command, url, BEARER], cwd=HERE)
        print(ended.stdout, end="")
        if ended.returncode != 0:
            raise Failed(ended.stderr)

    return part


def inspector(era):
    """The Inspector finds nothing to warn of in the tools, and calls one."""

    def ask(url, *arguments):
        command = [NODE, BIN / "mcp-inspector", "--cli", url, "--transport", "http", "--protocol-era", era]
        command += ["--header", f"Authorization: Bearer {BEARER}", "--format", "json", *arguments]
        with tempfile.TemporaryDirectory() as home:
            ended = run(command, env={**os.environ, "HOME": home})
        if ended.returncode != 0:
            raise Failed(ended.stdout + ended.stderr)
        return json.loads(ended.stdout)["result"], ended.stderr

    def part(url):
        listed, said = ask(url, "--method", "tools/list", "--strict")
        arguments = json.dumps({"name": f"inspector-{era}"})
        call = ["--method", "tools/call", "--tool-name", "project_create", "--tool-args-json", arguments]
        made, _ = ask(url, *call)
        if made["structuredContent"]["state"] != "succeeded":
            raise Failed(json.dumps(made, indent=2))
        if warnings := re.findall(r"^(?:Warning|Error): .*\n.*\n.*", said, re.MULTILINE):
            raise Failed("\n".join(warnings))
        print(f"inspector-{era}: {len(listed['tools'])} tools without a warning, called one")

    return part


def conformance(version):
    """The checks that fail are exactly those in `does_not_apply.json`. A warning counts as a failure."""

    def part(url):
        with tempfile.TemporaryDirectory() as out:
            with serving([NODE, HERE / "proxy.mjs", url, BEARER], r"http://\S+") as open_url:
                suite = [NODE, BIN / "conformance", "server", "--url", open_url, "--suite", "all"]
                ended = run([*suite, "--spec-version", version, "-o", out])
            passed, failed = read(pathlib.Path(out))
        reasons = json.loads((HERE / "does_not_apply.json").read_text())[version]
        listed = {check for checks in reasons.values() for check in checks}
        for scenario in sorted(passed):
            mine = [check for check in failed if check.startswith(f"{scenario}:")]
            excused = len(listed.intersection(mine))
            print(f"  {scenario:46} {passed[scenario]:2} ok {len(mine) - excused:2} bad {excused:2} not applicable")
        wrong = [f"{check} fails: {why}" for check, why in failed.items() if check not in listed]
        wrong += [f"{check} is listed as not applicable and does not fail" for check in listed - failed.keys()]
        if wrong:
            raise Failed("\n".join([*sorted(wrong), ended.stderr]))
        total = f"{sum(passed.values())} checks hold, {len(failed)} do not apply"
        print(f"conformance-{version}: {len(passed)} scenarios, {total}")

    return part


def read(out):
    """How many checks of each scenario passed, and the message of each that failed, by `scenario:check`."""
    passed, failed = collections.Counter(), {}
    for file in out.glob("*/checks.json"):
        scenario = re.sub(r"^server-|-\d{4}-\d\d-\d\dT[\d-]+Z$", "", file.parent.name)
        passed[scenario] = 0
        for check in json.loads(file.read_text()):
            if check["status"] in ("FAILURE", "WARNING"):
                failed[f"{scenario}:{check['id']}"] = check.get("errorMessage", check["status"])
            elif check["status"] == "SUCCESS":
                passed[scenario] += 1
    return passed, failed


def main(program):
    parts = {
        "python": script(sys.executable, "python_client.py"),
        "typescript-v1": script(NODE, "typescript_v1.mjs"),
        "typescript-v2": script(NODE, "typescript_v2.mjs"),
        **{f"inspector-{era}": inspector(era) for era in ERAS},
        **{f"conformance-{version}": conformance(version) for version in ERAS.values()},
    }
    environment = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    environment["FORGELINE_STATIC_TOKEN"] = BEARER
    # So slow that a client can give up on a create before it ends.
    command = [program, "serve", "--sandbox", "--latency", "150ms", "--listen", "127.0.0.1:0"]
    failures = 0
    with serving(command, r"http://\S+/mcp", env=environment) as url:
        for name, part in parts.items():
            began = time.monotonic()
            try:
                part(url)
            except (Failed, subprocess.TimeoutExpired) as failure:
                failures += 1
                print(f"{name} FAILED\n{failure}")
            print(f"{name} took {time.monotonic() - began:.1f} s", flush=True)
    print(f"{len(parts) - failures} passed, {failures} failed")
    sys.exit(1 if failures else 0)


main(*sys.argv[1:])
