"""The official Python MCP client (PyPI `mcp` 2.3.0) in both protocol eras.

Usage: python python_client.py URL BEARER
A create has to outlast TIMEOUT, so the server must be slow: --latency 150ms.
"""

import asyncio
import sys

from mcp import Client, MCPError
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

TIMEOUT = 0.5


def connect(url, bearer, mode):
    http = create_mcp_http_client(headers={"Authorization": f"Bearer {bearer}"})
    return Client(streamable_http_client(url, http_client=http), mode=mode)


async def check(url, bearer, mode):
    """Lists, creates with progress, repeats, is refused and gives up on a create; in the era that `mode` negotiates."""
    label, messages = f"python-{mode}", []

    async def progress(_progress, _total, message):
        messages.append(message)

    async with connect(url, bearer, mode) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        assert {"project_create", "project_status", "project_list", "run_resume", "run_cancel"} <= tools, tools
        arguments = {"name": label}
        made = await client.call_tool("project_create", arguments, progress_callback=progress, read_timeout_seconds=60)
        assert made.structured_content["state"] == "succeeded", made
        assert any("mirror: done" in message for message in messages), messages
        again = await client.call_tool("project_create", arguments)
        origins = [artifact["origin"] for artifact in again.structured_content["artifacts"].values()]
        assert origins == ["existing"] * 5, origins
        refused = await client.call_tool("project_create", {"name": "Not A Name"})
        assert refused.is_error and refused.structured_content["error"]["code"] == "input.invalid", refused

        # A client of its own: this one breaks when it is closed just as the answer comes that it no longer waits for.
        async with connect(url, bearer, mode) as impatient:
            try:
                await impatient.call_tool("project_create", {"name": f"{label}-late"}, read_timeout_seconds=TIMEOUT)
                raise AssertionError(f"a create ended within {TIMEOUT} s")
            except MCPError as error:
                assert "timed out" in str(error).lower(), error
        status = await client.call_tool("project_status", {"project": f"{label}-late", "wait_seconds": 30})
        assert status.structured_content["state"] == "succeeded", status
    said = f"{len(messages)} progress messages"
    print(f"{label}: listed {len(tools)} tools, created with {said}, repeated, refused, timed out")


async def main(url, bearer):
    for mode in ("legacy", "auto"):
        await check(url, bearer, mode)


asyncio.run(main(*sys.argv[1:]))
