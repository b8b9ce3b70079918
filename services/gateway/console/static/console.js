// The console of a development system: routes, session, polling. All data come from RPCs, with an administrator's token.

import { render } from "/console/vendor/preact/preact.mjs";
import { signIn, signOut } from "/console/api.js";
import { html } from "/console/ui.js";
import ledger, { initial as ofLedger } from "/console/ledger.js";
import mails, { initial as ofMails } from "/console/mails.js";
import mesh, { initial as ofMesh } from "/console/mesh.js";
import policies, { initial as ofPolicies } from "/console/policies.js";
import requests, { initial as ofRequests } from "/console/requests.js";
import work, { initial as ofWork } from "/console/work.js";

const VIEWS = [mesh, requests, policies, work, mails, ledger];
const INITIAL = {
  mesh: ofMesh, requests: ofRequests, policies: ofPolicies, work: ofWork, mails: ofMails, ledger: ofLedger,
};
// The seeded administrator, of whom everybody who runs a development system knows.
const ACCOUNT = { email: "admin@azora.world", password: "Admin@2024!" };

let states = INITIAL;
let user = null;
let note = "";
let problem = "";
let timer;
let loading = 0;

function route() {
  const [path, query = ""] = location.hash.slice(1).split("?");
  const [name, item = ""] = path.split("/");
  return { view: VIEWS.find((view) => view.name === name) ?? mesh, item, parameters: new URLSearchParams(query) };
}

function update(name, change) {
  states = { ...states, [name]: { ...states[name], ...change } };
  draw();
}

// Loads the shown view, now and then again for as long as it is shown and looked at.
async function poll() {
  clearTimeout(timer);
  const { view, item, parameters } = route();
  const round = ++loading;
  const isCurrent = () => user && round === loading;
  if (!user) return;
  try {
    const change = await view.load(states[view.name], { item, parameters });
    if (!isCurrent()) return;
    problem = "";
    update(view.name, change);
  } catch (error) {
    if (!isCurrent()) return;
    problem = error.message;
    draw();
  }
  if (view.milliseconds && !document.hidden) timer = setTimeout(poll, view.milliseconds);
}

async function enter(event) {
  event.preventDefault();
  const form = new FormData(event.target);
  note = "Signing in";
  draw();
  try {
    user = await signIn(form.get("email"), form.get("password"), leave);
    note = "";
  } catch (error) {
    note = `Sign-in failed: ${error.message}`;
  }
  draw();
  await poll();
}

function leave(reason) {
  user = null;
  states = INITIAL;
  note = reason;
  problem = "";
  draw();
}

function SignIn() {
  return html`<form class="card sign-in" onSubmit=${enter}>
    <h2>Sign in as an administrator</h2>
    <label>E-mail <input name="email" type="email" autocomplete="username" defaultValue=${ACCOUNT.email} required /></label>
    <label>Password <input name="password" type="password" autocomplete="current-password"
      defaultValue=${ACCOUNT.password} required /></label>
    <button id="sign-in" type="submit">Sign in</button>
    <p class="muted">The seeded account of a development system is filled in.</p>
  </form>`;
}

function Console() {
  const shown = route();
  const state = states[shown.view.name];
  return html`
    <header>
      <h1>Azora Mesh</h1>
      <nav aria-label="Views">${VIEWS.map((view, index) => html`<a key=${view.name} href="#${view.name}"
        aria-current=${view === shown.view ? "page" : null} title="Key ${index + 1}">${view.title}</a>`)}</nav>
      <p id="session" role="status">${user ? user.email : note}</p>
      ${user && html`<button id="sign-out" type="button" onClick=${() => signOut()}>Sign out</button>`}
    </header>
    <main id=${shown.view.name}>
      ${user
        ? html`<h2>${shown.view.title}</h2>
          ${problem && html`<p class="problem" role="alert">${problem}</p>`}
          ${shown.view.view(state, (change) => update(shown.view.name, change), shown)}`
        : html`<${SignIn} />`}
    </main>
    <footer>Keys: 1 to ${VIEWS.length} choose a view, / filters. <a href="/docs">API explorer</a></footer>`;
}

function draw() {
  document.title = `${user ? `${route().view.title} · ` : ""}Azora Mesh console`;
  render(html`<${Console} />`, document.body);
}

function typed(event) {
  const typing = event.target.closest("input, textarea, select");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") {
    event.preventDefault();
    document.getElementById("filter")?.focus();
  } else if (VIEWS[event.key - 1]) {
    location.hash = VIEWS[event.key - 1].name;
  }
}

addEventListener("hashchange", () => { problem = ""; draw(); poll(); });
addEventListener("keydown", typed);
document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });
draw();
