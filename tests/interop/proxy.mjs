// Adds a bearer to every request and changes nothing else: the conformance suite cannot send one.
// Host and Origin go on as they came, so that the server behind it is what refuses a wrong one.
import http from 'node:http';

const [url, bearer] = process.argv.slice(2);
const { hostname, port } = new URL(url);

const proxy = http.createServer((request, response) => {
  const headers = [...request.rawHeaders, 'Authorization', `Bearer ${bearer}`];
  const onward = http.request({ hostname, port, method: request.method, path: request.url, headers, setHost: false });
  onward.on('response', (answer) => {
    response.writeHead(answer.statusCode, answer.statusMessage, answer.rawHeaders);
    response.flushHeaders();
    answer.pipe(response);
  });
  onward.on('error', () => response.destroy());
  // A caller that hangs up hangs up on the server too.
  response.on('close', () => onward.destroy());
  request.pipe(onward);
});
proxy.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${proxy.address().port}/mcp`));
