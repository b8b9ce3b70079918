// Who may call what, how often, for how long.

import { get } from "/console/api.js";
import { Empty, Filter, html, ownerOf, seconds, shortMethod, Table } from "/console/ui.js";

export const initial = { policies: null, rateTiers: [], filter: "" };

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
      <${Table} label="Policies" className="dense" head=${["RPC", "Callers", "Rate", "Priority", "Timeout", "Retry", "Fresh sessions",
        "API key", "Idempotency key"]}>
        ${policies.map((policy) => html`<tr key=${policy.method}>
          <td><small>${ownerOf(policy.method)}</small> ${shortMethod(policy.method)}<br />
            <small><code>${policy.httpRoute}</code></small></td>
          <td>${policy.callers.join(", ")}</td>
          <td>${policy.rateTier}</td>
          <td>${policy.priority}</td>
          <td class="number">${seconds(policy.timeout)} s</td>
          <td>${policy.retrySafe ? "yes" : "-"}</td>
          <td>${policy.requiresFreshSessions ? "yes" : "-"}</td>
          <td>${policy.apiKeyScope || "-"}</td>
          <td>${policy.idempotencyKey ? "yes" : "-"}</td>
        </tr>`)}
      <//>
      <h3>Rate limits in force</h3>
      <${Table} label="Rate limits" head=${["Tier", "Per address", "Per user"]}>
        ${state.rateTiers.map((tier) => html`<tr key=${tier.name}>
          <td>${tier.name}</td><td>${limit(tier.perAddress)}</td><td>${limit(tier.perUser)}</td></tr>`)}
      <//>`;
  },
};
