// oidc-provider as an issuer of access tokens for forgeline, with what happens to an issuer's keys on order:
// GET /order/rotate, /order/retire, /order/down, /order/up. Usage: node provider.mjs PORT RESOURCE
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const [port, resource] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
let made = 0;
const fresh = () => ({
  ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }),
  kid: `key-${++made}`, alg: 'RS256', use: 'sig',
});
const scopes = 'forgeline:read forgeline:create forgeline:delete';
let keys = [fresh()];
let down = false;
let answer;

function renew() {
  const provider = new Provider(issuer, {
    jwks: { keys },
    scopes: ['openid', ...scopes.split(' ')],
    clients: [{ client_id: 'robot', client_secret: 'robot-secret', grant_types: ['client_credentials'], redirect_uris: [], response_types: [] }],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => resource,
        useGrantedResource: () => true,
        getResourceServerInfo: (_context, audience) => ({ scope: scopes, audience, accessTokenFormat: 'jwt', accessTokenTTL: 600, jwt: { sign: { alg: 'RS256' } } }),
      },
    },
  });
  answer = provider.callback();
}

const orders = {
  '/order/rotate': () => { keys = [fresh(), ...keys]; renew(); },
  '/order/retire': () => { keys = keys.slice(0, 1); renew(); },
  '/order/down': () => { down = true; },
  '/order/up': () => { down = false; },
};

renew();
createServer((request, response) => {
  if (orders[request.url]) {
    orders[request.url]();
    return response.end(keys.map((key) => key.kid).join(' '));
  }
  if (down) {
    response.statusCode = 503;
    return response.end();
  }
  return answer(request, response);
}).listen(Number(port), '127.0.0.1', () => console.log(`listening on ${issuer}`));
