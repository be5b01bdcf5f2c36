// The certified `oidc-provider` from npm as a real OpenID Provider for the tests.
//
// It lives on `localhost` while the application lives on `127.0.0.1`: two sites, because cookies ignore
// ports. When it listens it prints `{"issuer": …}`; when its stdin ends it exits. Its environment:
//
//   NODE_MODULES     the directory `oidc-provider` is installed in
//   APP_URL          the application, for the registered redirect URIs
//   PORT             where to listen (an ephemeral port)
//   TOKEN_SECONDS    how long an access token lives (60)
//   AUTH_METHODS     what discovery offers for client authentication (client_secret_basic, client_secret_post);
//                    confidential clients are registered with the first, and no other is accepted;
//                    for private_key_jwt it reads the keys at APP_URL/auth/jwks.json
//   REQUIRE_PAR      `1`: authorization requests must be pushed, and discovery says so (RFC 9126 section 5)
//   GRANTS           `separate`: each consent is a grant of its own (one grant for a person and a client)
//   LOGOUT_BY        `sub`: logout tokens name no `sid` (both)
//   TOKEN_LENGTH     how many characters an access token has (43)
//   USERINFO_ALG     with what UserInfo for `web` is signed (it is JSON)
//   WITHHOLD         a scope that is refused unless it is asked for with prompt=consent
//
// `login_hint` names the user, without one a form asks; the user `deny` refuses.
// `GET /events` lists what it saw; `GET /agenda` and all below `/cal/` and `/mail/` are APIs that want an access
// token; `GET /forget?user=…` takes back all that this user has granted.

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const env = process.env;
const library = createRequire(`${env.NODE_MODULES}/`).resolve('oidc-provider');
const { Provider, errors } = await import(pathToFileURL(library));

const tokenSeconds = Number(env.TOKEN_SECONDS ?? 60);
const authMethods = (env.AUTH_METHODS ?? 'client_secret_basic,client_secret_post').split(',');

// It must listen before it knows its own name.
const server = http.createServer().listen(Number(env.PORT ?? 0), '127.0.0.1');
await once(server, 'listening');
const issuer = `http://localhost:${server.address().port}`;

const signingKey = (header, type, options) =>
  ({ ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }), use: 'sig', ...header });

const client = (client_id, more = {}) => ({
  client_id,
  // HS256 needs a secret as long as the hash.
  client_secret: `${client_id} secret`.padEnd(authMethods[0] === 'client_secret_jwt' ? 32 : 0, '.'),
  ...(authMethods[0] === 'private_key_jwt' && { jwks_uri: `${env.APP_URL}/auth/jwks.json` }),
  token_endpoint_auth_method: authMethods[0],
  // With several providers the application has a redirect URI for each.
  redirect_uris: ['', '/default', '/work'].map((name) => `${env.APP_URL}/auth/callback${name}`),
  post_logout_redirect_uris: [env.APP_URL, `${env.APP_URL}/`],
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  ...more,
});

const page = (ctx, title, body) => {
  ctx.type = 'html';
  ctx.body = `<!doctype html><meta charset="utf-8"><title>${title}</title><h1>${title}</h1>${body}`;
};

const provider = new Provider(issuer, {
  jwks: {
    keys: [
      signingKey({ kid: 'rsa' }, 'rsa', { modulusLength: 2048 }), // RS256, the default, and PS256
      signingKey({ kid: 'p256', alg: 'ES256' }, 'ec', { namedCurve: 'P-256' }),
      signingKey({ kid: 'ed25519', alg: 'EdDSA' }, 'ed25519'),
    ],
  },
  enabledJWA: {
    idTokenSigningAlgValues: ['RS256', 'PS256', 'ES256', 'EdDSA'],
    userinfoSigningAlgValues: ['RS256', 'PS256', 'ES256', 'EdDSA'],
  },
  cookies: { keys: [randomBytes(32).toString('hex')] },
  clientAuthMethods: [...authMethods, 'none'],
  clients: [
    client('web', {
      backchannel_logout_uri: `${env.APP_URL}/auth/backchannel-logout`,
      backchannel_logout_session_required: env.LOGOUT_BY !== 'sub',
      ...(env.USERINFO_ALG && { userinfo_signed_response_alg: env.USERINFO_ALG }),
    }),
    client('special', { client_secret: `s:e c%r&t+/=?"'<\\~` }),
    client('public', { client_secret: undefined, token_endpoint_auth_method: 'none' }),
    client('es256', { id_token_signed_response_alg: 'ES256' }),
    client('ps256', { id_token_signed_response_alg: 'PS256' }),
    client('eddsa', { id_token_signed_response_alg: 'EdDSA' }),
    client('robot', { grant_types: ['client_credentials', 'authorization_code', 'refresh_token'] }),
  ],

  scopes: ['openid', 'offline_access', 'cal', 'mail', 'mail:send'],
  claims: { openid: ['sub'], profile: ['name'], email: ['email', 'email_verified'] },
  conformIdTokenClaims: false, // what a scope grants is in the ID token too
  findAccount: (_ctx, id) => ({
    accountId: id,
    claims: () => ({ sub: id, name: `User ${id}`, email: `${id}@example.test`, email_verified: true }),
  }),

  pkce: { required: () => true },
  issueRefreshToken: (_ctx, { grantTypes }) => grantTypes.includes('refresh_token'),
  // What is bound to the session ends with the next grant that the session gets.
  ...(env.GRANTS === 'separate' && { expiresWithSession: () => false }),
  formats: {
    bitsOfOpaqueRandomness: (_ctx, model) => (model.kind === 'AccessToken' ? Number(env.TOKEN_LENGTH ?? 43) * 6 - 2 : 256),
  },
  rotateRefreshToken: () => true, // by default only late in a token's life
  ttl: {
    AccessToken: tokenSeconds,
    AuthorizationCode: 60,
    ClientCredentials: tokenSeconds,
    Grant: 3600,
    IdToken: 300,
    Interaction: 300,
    RefreshToken: 3600,
    Session: 3600,
  },

  features: {
    devInteractions: { enabled: false },
    backchannelLogout: { enabled: true },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    jwtUserinfo: { enabled: true },
    revocation: { enabled: true },
    pushedAuthorizationRequests: {
      enabled: true,
      requirePushedAuthorizationRequests: env.REQUIRE_PAR === '1',
    },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      useGrantedResource: (_ctx, { resource }) => !Array.isArray(resource), // of several, each when it is asked for
      getResourceServerInfo: (_ctx, resource) => {
        if (!resource.startsWith('https://api.example.test/')) throw new errors.InvalidTarget();
        return { scope: 'api:read', audience: resource, accessTokenFormat: 'jwt', accessTokenTTL: tokenSeconds };
      },
    },
    rpInitiatedLogout: {
      enabled: true,
      logoutSource: (ctx, form) =>
        page(ctx, 'Sign out?', `${form}<button id="yes" form="op.logoutForm" name="logout" value="yes">Yes</button>`),
      postLogoutSuccessSource: (ctx) => page(ctx, 'Signed out', ''),
    },
  },
  fetch: (url, { dispatcher, ...options }) => fetch(url, options), // its own refuses loopback addresses
  // The default pages load fonts from the web.
  renderError: (ctx, out) => page(ctx, 'Error', `<pre>${JSON.stringify(out).replaceAll('<', '&lt;')}</pre>`),
  interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
});

const events = [];
const observe = (event, describe) => provider.on(event, (ctx, ...rest) => {
  const { client: rp, params } = ctx.oidc ?? {};
  events.push({ event, client: rp?.clientId, ...describe(ctx, params ?? {}, ...rest) });
});
const failure = (_ctx, params, error) =>
  ({ grant_type: params.grant_type, error: `${error.message}: ${error.error_description ?? error.stack}`, detail: error.error_detail });
observe('authorization.success', (_ctx, params) =>
  ({ code_challenge_method: params.code_challenge_method, response_mode: params.response_mode ?? 'query', scope: params.scope }));
observe('pushed_authorization_request.success', () => ({}));
observe('grant.success', (ctx, params) => ({
  grant_type: params.grant_type,
  authenticated_by: ctx.headers.authorization ? 'basic' : params.client_secret ? 'post'
    : params.client_assertion ? 'assertion' : 'none',
}));
observe('end_session.success', () => ({}));
provider.on('backchannel.success', (_ctx, client, user, sid) =>
  events.push({ event: 'backchannel.success', client: client.clientId, user, sid }));
provider.on('backchannel.error', (_ctx, error, client) =>
  events.push({ event: 'backchannel.error', client: client.clientId, error: error.message }));
observe('grant.revoked', () => ({})); // at logout, and when a rotated refresh token comes twice
for (const event of ['authorization.error', 'pushed_authorization_request.error', 'grant.error', 'userinfo.error',
  'end_session.error', 'revocation.error', 'server_error']) {
  observe(event, event === 'server_error' ? (_ctx, _params, error) => ({ error: error.stack }) : failure);
}

const grants = [];

async function forget(user) {
  for (const { id } of grants.filter((grant) => grant.user === user)) {
    await Promise.all([provider.AccessToken, provider.RefreshToken].map((model) => model.revokeByGrantId(id)));
    await provider.Grant.adapter.destroy(id);
  }
}

async function interact(ctx, next) {
  if (!ctx.path.startsWith('/interaction/')) return next();
  const { prompt, params, session, grantId } = await provider.interactionDetails(ctx.req, ctx.res);
  let user = prompt.name === 'consent' ? session.accountId : params.login_hint;
  if (ctx.method === 'POST') {
    let body = '';
    for await (const chunk of ctx.req) body += chunk;
    user = new URLSearchParams(body).get('user');
  }
  if (!user) {
    page(ctx, 'Who are you?', '<form method="post"><input id="user" name="user"><button id="go">Sign in</button></form>');
    return;
  }
  ctx.respond = false;
  const finish = (result) => provider.interactionFinished(ctx.req, ctx.res, result);
  if (user === 'deny') {
    await finish({ error: 'access_denied', error_description: 'they said <b>"no"</b> & meant it' });
    return;
  }
  // Whoever signs in consents to everything that was asked for.
  const grant = (env.GRANTS !== 'separate' && grantId && await provider.Grant.find(grantId))
    || new provider.Grant({ accountId: user, clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  if (env.WITHHOLD && params.prompt !== 'consent') grant.rejectOIDCScope(env.WITHHOLD);
  for (const resource of [params.resource].flat().filter(Boolean)) grant.addResourceScope(resource, params.scope);
  const saved = await grant.save();
  grants.push({ user, id: saved });
  await finish({ login: { accountId: user }, consent: { grantId: saved } });
}

// RFC 6749 section 2.3.1 lets a server take either method; a strict one shows which is sent.
async function strictly(ctx, next) {
  const basic = ctx.headers.authorization?.startsWith('Basic ');
  if (ctx.method === 'POST' && basic && !authMethods.includes('client_secret_basic')) ctx.throw(401, 'not by basic');
  await next();
}

const shown = async (ctx) => {
  const token = (ctx.headers.authorization ?? '').replace(/^Bearer /i, '');
  return (await provider.AccessToken.find(token)) ?? provider.ClientCredentials.find(token);
};

async function serve(ctx, next) {
  if (ctx.path === '/events') {
    ctx.body = events;
  } else if (ctx.path === '/agenda') {
    const token = await provider.AccessToken.find((ctx.headers.authorization ?? '').replace(/^Bearer /i, ''));
    events.push({ event: 'agenda', user: token?.accountId });
    ctx.status = token ? 200 : 401;
    ctx.body = token ? { agenda_of: token.accountId } : { error: 'invalid_token' };
  } else if (/^\/(cal|mail)\//.test(ctx.path)) {
    const token = await shown(ctx);
    const user = token?.accountId ?? token?.clientId; // an application by itself is its client
    events.push({ event: 'api', path: ctx.path, user });
    ctx.status = token ? 200 : 401;
    ctx.body = token ? { user, scope: token.scope } : { refused: 'invalid_token' };
  } else if (ctx.path === '/forget') {
    await forget(ctx.query.user);
    ctx.body = 'forgotten';
  } else {
    await next();
    if (ctx.oidc?.route === 'revocation') {
      const { body, entities } = ctx.oidc;
      const kind = (entities.RefreshToken ?? entities.AccessToken)?.kind;
      events.push({ event: 'revocation', status: ctx.status, kind, query: ctx.search, in_body: Boolean(body?.token) });
    }
    if (ctx.oidc?.route === 'userinfo') events.push({ event: 'userinfo', user: ctx.oidc.account?.accountId, status: ctx.status });
  }
}

provider.use(strictly);
provider.use(serve);
provider.use(interact);
server.on('request', provider.callback());
console.log(JSON.stringify({ issuer }));
process.stdin.on('end', () => process.exit(0)).resume();
