// Calls of the JSON API with the access token of the session, which is kept in memory only and refreshed in time.

const REFRESH_BEFORE_SECONDS = 60;

let session = null;
let ended = () => {};

export class ApiError extends Error {
  constructor(status, answer) {
    super(answer.message || `HTTP status ${status}`);
    this.status = status;
    this.reason = answer.details?.find((detail) => detail.reason)?.reason ?? "";
  }
}

async function call(path, options = {}) {
  const response = await fetch(path, options);
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new ApiError(response.status, answer);
  return answer;
}

function post(path, body) {
  return call(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
}

function begin(answer) {
  session = { token: answer.accessToken, refreshToken: answer.refreshToken };
  setTimeout(refresh, Math.max(1, answer.expiresIn - REFRESH_BEFORE_SECONDS) * 1000, session);
}

async function refresh(former) {
  if (session !== former) return;
  try {
    const answer = await post("/v1/auth/refresh", { refreshToken: former.refreshToken });
    if (session === former) begin(answer); // It may have been signed out meanwhile.
  } catch (error) {
    if (session === former) signOut(`The session ended: ${error.message}`);
  }
}

// Signs in and returns the user. Calls `onEnd` with a reason when the session ends by itself.
export async function signIn(email, password, onEnd) {
  const answer = await post("/v1/auth/login", { email, password });
  if (!answer.accessToken) throw new Error("This account has a second factor: use one that has none.");
  begin(answer);
  ended = onEnd;
  return answer.user;
}

export function signOut(reason = "") {
  const former = session;
  session = null;
  if (!former) return;
  if (!reason) post("/v1/auth/logout", { refreshToken: former.refreshToken }).catch(() => {});
  ended(reason);
}

// A new trace that is not sampled: what the console reads is not among the requests that it shows.
function traceparent() {
  const bytes = crypto.getRandomValues(new Uint8Array(24));
  const digits = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return `00-${digits.slice(0, 32)}-${digits.slice(32)}-00`;
}

export async function get(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value));
  const used = session;
  try {
    const headers = { authorization: `Bearer ${used?.token}`, traceparent: traceparent() };
    return await call(`${path}${query.size ? `?${query}` : ""}`, { headers });
  } catch (error) {
    if (error.status === 401 && session === used) signOut(`The session ended: ${error.message}`);
    throw error;
  }
}
