// The Azora JSON API from a browser: calls as the signed-in user, and watches as async iterators.

const API = document.querySelector('meta[name="azora-api"]').content;

const RECONNECT_MILLISECONDS = 2000;

// Kept in memory only: an injected script can read whatever the page stores.
let session = null;
let refreshing = null;

/** A refusal of the API: a google.rpc.Status. Decide by `reason`, which is stable; `message` is for people. */
export class ApiError extends Error {
  constructor(httpStatus, { message, details }) {
    super(message);
    this.httpStatus = httpStatus;
    this.reason = details.find((detail) => detail.reason)?.reason;
  }
}

/** Sign in. Returns the user. */
export async function signIn(email, password) {
  const answer = await call("POST", "/v1/auth/login", { body: { email, password } });
  if (answer.mfaChallenge) throw new Error("This example does not ask for a second factor.");
  session = answer;
  return session.user;
}

/** Sign out: the access token ends everywhere within seconds, the refresh token at once. */
export async function signOut() {
  const { refreshToken } = session;
  session = null;
  await call("POST", "/v1/auth/logout", { body: { refreshToken } });
}

/** Call an RPC. Returns its response; throws an ApiError, or another error if no response arrives. */
export async function call(method, path, { body, idempotencyKey } = {}) {
  return (await authorized(method, path, { body, idempotencyKey })).json();
}

/**
 * Yield the messages of a watch until `signal` ends it.
 *
 * Connects again when the connection is lost or the stream ends with an error, as it does when the access token expires;
 * throws an ApiError if that is refused.
 */
export async function* watch(path, signal) {
  while (!signal.aborted) {
    try {
      for await (const message of messages(await authorized("GET", path, { signal }))) {
        if (message.error) break;
        yield message;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error.httpStatus < 500) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, RECONNECT_MILLISECONDS));
  }
}

/** Send a request, once more with a new access token if this one has expired. */
async function authorized(method, path, options) {
  try {
    return await send(method, path, options);
  } catch (error) {
    if (error.reason !== "TOKEN_EXPIRED" || !session) throw error;
    await refresh();
    return send(method, path, options);
  }
}

/** Refresh the session. Calls that find it expired at the same time share one refresh. */
function refresh() {
  const expired = session;
  refreshing ??= send("POST", "/v1/auth/refresh", { body: { refreshToken: expired.refreshToken } })
    .then((response) => response.json())
    .then((renewed) => { if (session === expired) session = renewed; })
    .finally(() => { refreshing = null; });
  return refreshing;
}

async function send(method, path, { body, idempotencyKey, signal } = {}) {
  const headers = {};
  if (session) headers.authorization = `Bearer ${session.accessToken}`;
  if (body) headers["content-type"] = "application/json";
  if (idempotencyKey) headers["idempotency-key"] = idempotencyKey;
  const request = { method, headers, body: body && JSON.stringify(body), signal };
  const response = await fetch(API + path, request).catch((cause) => {
    const text = `No response from ${API}. Is it running, and does it allow the origin ${location.origin}?`;
    throw new Error(text, { cause });
  });
  if (!response.ok) throw new ApiError(response.status, await response.json());
  return response;
}

/** Yield the messages of a response of newline-delimited JSON. */
async function* messages(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (text + value).split("\n");
      text = lines.pop();
      for (const line of lines) {
        if (line) yield JSON.parse(line);
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // Closes the stream, unless it has failed.
  }
}
