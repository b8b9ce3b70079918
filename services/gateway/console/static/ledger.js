// The trial balance, the checkpoints, and the verification of the hash chains.

import { get } from "/console/api.js";
import { Badge, Empty, Health, html, moment, Table, units } from "/console/ui.js";

export const initial = { balance: null, checkpoints: [], verified: null };

const PAGE_SIZE = "5000";

// Reads all pages of the ledger's and the audit logs' verification, and tells how far it has come.
async function verify(tell) {
  const found = { accounts: 0, entries: 0, events: 0, findings: [], findingCount: 0, unreachable: [], done: false };
  for (let pageToken = ""; ; ) {
    const page = await get("/v1/ledger:verify", { pageSize: PAGE_SIZE, pageToken });
    found.accounts += page.accountCount;
    found.entries += page.entryCount;
    found.findings = found.findings.concat(page.findings);
    found.findingCount += page.findingCount;
    tell({ ...found });
    pageToken = page.nextPageToken;
    if (!pageToken) break;
  }
  for (let pageToken = ""; ; ) {
    const page = await get("/v1/auditEvents:verify", { pageToken });
    for (const chain of page.chains) {
      found.events += chain.eventCount;
      found.findings = found.findings.concat(chain.findings);
      found.findingCount += chain.findingCount;
    }
    found.unreachable = [...new Set([...found.unreachable, ...page.unreachable])];
    tell({ ...found });
    pageToken = page.nextPageToken;
    if (!pageToken) break;
  }
  tell({ ...found, done: true });
}

function Verified({ found }) {
  if (found.error) return html`<p role="status"><${Badge} tone="bad">${found.error}<//></p>`;
  const intact = !found.findingCount && !found.unreachable.length;
  return html`
    <p role="status">${found.done
      ? html`<${Health} healthy=${intact} yes="intact" no="${found.findingCount} findings" />`
      : html`<${Badge} tone="calm">verifying<//>`}
      ${" "}${found.entries} entries of ${found.accounts} accounts, ${found.events} audit events
      ${found.unreachable.length ? `, not answering: ${found.unreachable.join(", ")}` : ""}</p>
    ${found.findings.length > 0 && html`<${Table} label="Findings" head=${["Type", "Resource", "Description"]}>
      ${found.findings.map((finding) => html`<tr>
        <td>${finding.type}</td><td><code>${finding.resource}</code></td><td>${finding.description}</td></tr>`)}
    <//>`}`;
}

export default {
  name: "ledger",
  title: "Ledger",
  milliseconds: 4000,

  async load() {
    const [balance, { checkpoints }] = await Promise.all([
      get("/v1/ledger/trialBalance"), get("/v1/ledger/checkpoints", { pageSize: "5" })]);
    return { balance, checkpoints };
  },

  view(state, update) {
    if (!state.balance) return html`<${Empty}>Loading<//>`;
    const start = () => {
      update({ verified: { accounts: 0, entries: 0, events: 0, findings: [], findingCount: 0, unreachable: [] } });
      verify((verified) => update({ verified })).catch((error) => update({ verified: { error: error.message } }));
    };
    return html`
      <h3>Trial balance <${Health} healthy=${state.balance.balanced} yes="balanced" no="not balanced" /></h3>
      <${Table} label="Trial balance" head=${["Currency", ["Debit", "number"], ["Credit", "number"], ["Total", "number"]]}>
        ${state.balance.currencies.map((total) => html`<tr key=${total.currency}>
          <td>${total.currency}</td><td class="number">${units(total.debit)}</td>
          <td class="number">${units(total.credit)}</td><td class="number">${units(total.total)}</td></tr>`)}
      <//>
      <p class="muted">In minor units.</p>
      <h3>Hash chains</h3>
      <p><button type="button" disabled=${state.verified && !state.verified.done && !state.verified.error}
        onClick=${start}>Verify ledger and audit logs</button></p>
      ${state.verified && html`<${Verified} found=${state.verified} />`}
      <h3>Checkpoints</h3>
      ${state.checkpoints.length
        ? html`<${Table} label="Checkpoints" head=${[["Number", "number"], ["Accounts", "number"], "Time", "Root"]}>
            ${state.checkpoints.map((checkpoint) => html`<tr key=${checkpoint.number}>
              <td class="number">${checkpoint.number}</td><td class="number">${checkpoint.accountCount}</td>
              <td>${moment(checkpoint.createTime)}</td><td><code>${checkpoint.root}</code></td></tr>`)}
          <//>`
        : html`<${Empty}>No checkpoint yet: they are signed every few minutes.<//>`}`;
  },
};
