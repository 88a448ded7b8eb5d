// The TypeScript SDK v2 in both protocol eras. Usage: node typescript_v2.mjs URL BEARER
import assert from 'node:assert/strict';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { check } from './typescript.mjs';

const [url, bearer] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${bearer}` };
for (const [mode, version] of [['legacy', '2025-11-25'], ['auto', '2026-07-28']]) {
  const client = new Client({ name: 'interop', version: '1' }, { versionNegotiation: { mode } });
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }));
  assert.equal(client.getNegotiatedProtocolVersion(), version);
  await check(`typescript-v2-${mode}`, client, (name, args, options) =>
    client.callTool({ name, arguments: args }, options));
  await client.close();
}
