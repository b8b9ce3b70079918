// Who may call what, how often, for how long.

import { get } from "/console/api.js";
import { Empty, Filter, html, ownerOf, seconds, shortMethod, Table } from "/console/ui.js";

export const initial = { policies: null, rateTiers: [], filter: "" };

const COLUMNS = ["Callers", "Rate", "Priority", "Timeout", "Retry", "Fresh sessions", "API key", "Idempotency key"];

const tick = (value) => (value ? "yes" : "-");

function cells(policy) {
  return [
    policy.callers.join(", "), policy.rateTier, policy.priority, `${seconds(policy.timeout)} s`, tick(policy.retrySafe),
    tick(policy.requiresFreshSessions), policy.apiKeyScope || "-", tick(policy.idempotencyKey),
  ];
}

const limit = (count) => (count ? `${count} per minute` : "-");

export default {
  name: "policies",
  title: "Policies",

  load: () => get("/v1/console/policies"),

  view(state, update) {
    if (!state.policies) return html`<${Empty}>Loading<//>`;
    const wanted = state.filter.toLowerCase();
    const policies = state.policies.filter((policy) =>
      [policy.method, policy.httpRoute, policy.rateTier, ...policy.callers].join(" ").toLowerCase().includes(wanted));
    return html`
      <div class="bar"><p>${policies.length} of ${state.policies.length} RPCs</p>
        <${Filter} value=${state.filter} label="Filter by RPC, route, caller or tier"
          onInput=${(filter) => update({ filter })} /></div>
      <${Table} label="Policies" className="dense" head=${["RPC", ...COLUMNS]}>
        ${policies.map((policy) => html`<tr key=${policy.method}>
          <td><small>${ownerOf(policy.method)}</small> ${shortMethod(policy.method)}<br />
            <small><code>${policy.httpRoute}</code></small></td>
          ${cells(policy).map((cell, index) => html`<td data-label=${COLUMNS[index]}>${cell}</td>`)}
        </tr>`)}
      <//>
      <h3>Rate limits in force</h3>
      <${Table} label="Rate limits" head=${["Tier", "Per address", "Per user"]}>
        ${state.rateTiers.map((tier) => html`<tr key=${tier.name}>
          <td>${tier.name}</td><td>${limit(tier.perAddress)}</td><td>${limit(tier.perUser)}</td></tr>`)}
      <//>`;
  },
};
