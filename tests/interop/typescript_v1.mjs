// The TypeScript SDK v1, which speaks only the initialize era. Usage: node typescript_v1.mjs URL BEARER
import assert from 'node:assert/strict';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { CallToolResultSchema } from '@modelcontextprotocol/sdk/types.js';
import { check } from './typescript.mjs';

const [url, bearer] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${bearer}` };
const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } });
const client = new Client({ name: 'interop', version: '1' });
await client.connect(transport);
assert.equal(transport.protocolVersion, '2025-11-25');
await check('typescript-v1', client, (name, args, options) =>
  client.callTool({ name, arguments: args }, CallToolResultSchema, options));
await client.close();
