"""The official Python MCP client (PyPI `mcp` 2.3.0) against `forgeline serve --sandbox`, in both protocol eras.

Usage: python python_client.py PATH-OF-FORGELINE
"""

import asyncio
import os
import re
import subprocess
import sys

from mcp import Client
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client


def serve(program):
    """Starts a server on a free port and answers the process, its address and its bearer."""
    environment = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    process = subprocess.Popen(
        [program, "serve", "--sandbox", "--listen", "127.0.0.1:0"], env=environment, stderr=subprocess.PIPE, text=True
    )
    said = ""
    for line in process.stderr:
        said += line
        found = re.search(r"forgeline (http://\S+) --header \"Authorization: Bearer (\w+)\"", line)
        if found:
            return process, found[1], found[2]
    raise SystemExit(f"the server ended before it served:\n{said}")


async def check(url, bearer, mode):
    """Lists, creates with progress, and repeats; in the era that `mode` negotiates."""
    http = create_mcp_http_client(headers={"Authorization": f"Bearer {bearer}"})
    messages = []

    async def progress(_progress, _total, message):
        messages.append(message)

    async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        assert {"project_create", "project_status", "project_list", "run_resume", "run_cancel"} <= tools, tools
        arguments = {"name": f"shop-{mode}"}
        made = await client.call_tool("project_create", arguments, progress_callback=progress, read_timeout_seconds=60)
        assert made.structured_content["state"] == "succeeded", made
        assert any("mirror: done" in message for message in messages), messages
        again = await client.call_tool("project_create", arguments)
        origins = {artifact["origin"] for artifact in again.structured_content["artifacts"].values()}
        assert origins == {"existing"}, origins
        refused = await client.call_tool("project_create", {"name": "Not A Name"})
        assert refused.is_error and refused.structured_content["error"]["code"] == "input.invalid", refused
    print(f"mode {mode}: listed {len(tools)} tools, created, {len(messages)} progress messages, repeated, refused")


async def main(program):
    process, url, bearer = serve(program)
    try:
        for mode in ("legacy", "auto"):
            await check(url, bearer, mode)
    finally:
        process.terminate()
        process.wait(30)
    print("2 passed, 0 failed")


asyncio.run(main(sys.argv[1]))
