// The API explorer of a development system: Swagger UI over /openapi.json, with the seeded accounts one click away.
"use strict";

const ACCOUNTS = [
  { label: "Student", email: "student@azora.world", password: "Student@2024!" },
  { label: "Educator", email: "educator@azora.world", password: "Educator@2024!" },
  { label: "Administrator", email: "admin@azora.world", password: "Admin@2024!" },
];
const SCHEME = "accessToken";
const REFRESH_BEFORE_SECONDS = 60;

let session = null;
let documentLoaded;
const loaded = new Promise((resolve) => { documentLoaded = resolve; });

// Watches last until the client ends them, which Swagger UI cannot show: they are documented only.
const withoutWatches = {
  statePlugins: {
    spec: {
      wrapSelectors: {
        allowTryItOutFor: (original, system) => (state, path, method) =>
          !system.specSelectors.specJson().getIn(["paths", path, method, "x-azora-policy", "watch"]) &&
          original(state, path, method),
      },
    },
  },
};

async function post(path, body, headers = {}) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.message);
  return answer;
}

function show(text) {
  document.getElementById("session").textContent = text;
}

function press(label) {
  for (const button of document.querySelectorAll("#accounts button")) {
    button.setAttribute("aria-pressed", String(button.textContent === label));
  }
  document.getElementById("sign-out").hidden = !label;
}

function authorize(ui, answer) {
  session = answer;
  ui.preauthorizeApiKey(SCHEME, answer.accessToken);
  setTimeout(refresh, Math.max(1, answer.expiresIn - REFRESH_BEFORE_SECONDS) * 1000, ui, answer);
}

async function refresh(ui, former) {
  if (session !== former) return;
  try {
    const answer = await post("/v1/auth/refresh", { refreshToken: former.refreshToken });
    if (session === former) authorize(ui, answer); // It may have been signed out meanwhile.
  } catch (error) {
    if (session === former) signOut(ui, `Session ended: ${error.message}`);
  }
}

function endSession() {
  if (session) post("/v1/auth/logout", { refreshToken: session.refreshToken }).catch(() => {});
  session = null;
}

async function signIn(ui, { label, email, password }) {
  show("Signing in");
  try {
    const answer = await post("/v1/auth/login", { email, password });
    if (!answer.accessToken) throw new Error("This account has a second factor.");
    await loaded; // It declares the security scheme.
    endSession(); // That of another account.
    authorize(ui, answer);
    press(label);
    show(`Signed in as ${answer.user.name} (${email})`);
  } catch (error) {
    signOut(ui, `Sign-in failed: ${error.message}`);
  }
}

function signOut(ui, text) {
  endSession();
  ui.authActions.logout([SCHEME]);
  press("");
  show(text);
}

function offerAccounts(ui) {
  const accounts = document.getElementById("accounts");
  for (const account of ACCOUNTS) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = account.label;
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => signIn(ui, account));
    accounts.append(button);
  }
  document.getElementById("sign-out").addEventListener("click", () => signOut(ui, "Not signed in"));
}

const ui = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#explorer",
  deepLinking: true,
  defaultModelRendering: "model",
  defaultModelsExpandDepth: -1,
  displayRequestDuration: true,
  docExpansion: "none",
  filter: true,
  onComplete: documentLoaded,
  plugins: [withoutWatches],
  tryItOutEnabled: true,
  validatorUrl: null,
});

offerAccounts(ui);
