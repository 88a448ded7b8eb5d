// What every TypeScript client checks. A create has to outlast TIMEOUT, so the server must be slow: --latency 150ms.
import assert from 'node:assert/strict';

const TIMEOUT = 500;
const TOOLS = ['project_create', 'project_status', 'project_list', 'run_resume', 'run_cancel'];

/** `call(name, args, options)` calls a tool of the connected `client`; `label` also names the projects. */
export async function check(label, client, call) {
  const started = performance.now();
  const passed = (part) => console.log(`${label}: ${part}`);

  const { tools } = await client.listTools();
  const names = tools.map((tool) => tool.name);
  assert.deepEqual(TOOLS.filter((name) => !names.includes(name)), []);
  passed(`listed ${names.length} tools`);

  const messages = [];
  const onprogress = ({ message }) => messages.push(message);
  const made = await call('project_create', { name: label }, { onprogress });
  assert.equal(made.structuredContent.state, 'succeeded', JSON.stringify(made));
  assert(messages.some((message) => message.includes('mirror: done')), messages.join('\n'));
  passed(`created, with ${messages.length} progress messages`);

  const again = await call('project_create', { name: label });
  const origins = Object.values(again.structuredContent.artifacts).map((artifact) => artifact.origin);
  assert.deepEqual(origins, Array(5).fill('existing'));
  passed('repeated: all 5 artifacts exist');

  const refused = await call('project_create', { name: 'Not A Name' });
  assert.equal(refused.isError, true, JSON.stringify(refused));
  assert.equal(refused.structuredContent.error.code, 'input.invalid');
  passed('refused an invalid name');

  await assert.rejects(call('project_create', { name: `${label}-late` }, { timeout: TIMEOUT }), /timed out/i);
  await settles(call, `${label}-late`);
  passed(`timed out after ${TIMEOUT} ms; the run went on and succeeded`);

  // The first progress message says that the run is under way, so the abort cannot come before it.
  const hangUp = new AbortController();
  const aborting = { signal: hangUp.signal, onprogress: () => hangUp.abort('enough') };
  await assert.rejects(call('project_create', { name: `${label}-gone` }, aborting), /enough/);
  await settles(call, `${label}-gone`);
  passed('aborted; the run went on and succeeded');

  console.log(`${label}: took ${((performance.now() - started) / 1000).toFixed(1)} s`);
}

async function settles(call, project) {
  const run = (await call('project_status', { project, wait_seconds: 30 })).structuredContent;
  assert.equal(run.state, 'succeeded', JSON.stringify(run));
}
