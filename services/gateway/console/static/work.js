// Events and jobs that wait, and those that failed for good.

import { get } from "/console/api.js";
import { Badge, Empty, Health, html, moment, Table } from "/console/ui.js";

export const initial = { services: null, unreachable: [] };

function Counts({ work }) {
  const dead = Number(work.deadEvents) + Number(work.failedJobs);
  return html`<article class="card">
    <h3>${work.service} <${Badge} tone=${dead ? "bad" : "good"}>${dead} dead letters<//></h3>
    <dl class="counts">
      <dt>Events waiting</dt><dd>${work.waitingEvents}</dd>
      <dt>Jobs due</dt><dd>${work.dueJobs}</dd>
      <dt>Jobs deferred</dt><dd>${work.deferredJobs}</dd>
    </dl>
  </article>`;
}

export default {
  name: "work",
  title: "Events",
  milliseconds: 2000,

  load: () => get("/v1/console/backgroundWork"),

  view(state) {
    if (!state.services) return html`<${Empty}>Loading<//>`;
    const letters = state.services.flatMap((work) =>
      work.deadLetters.map((letter) => ({ ...letter, service: work.service })));
    return html`
      <section class="cards" aria-label="Waiting">
        ${state.services.map((work) => html`<${Counts} key=${work.service} work=${work} />`)}
        ${state.unreachable.map((name) => html`<article class="card" key=${name}>
          <h3>${name} <${Health} healthy=${false} no="does not answer" /></h3></article>`)}
      </section>
      <h3>Dead letters</h3>
      ${letters.length
        ? html`<p class="muted">Give them another attempt with <code>azora events retry</code>.</p>
          <${Table} label="Dead letters" head=${["Service", "Name", "Subscriber", "Reason", "Attempts", "Failed", "ID"]}>
            ${letters.map((letter) => html`<tr key=${letter.id}>
              <td>${letter.service}</td><td>${letter.name} <small>${letter.kind}</small></td>
              <td>${letter.subscriber || "-"}</td><td>${letter.reason}</td><td class="number">${letter.attempts}</td>
              <td>${moment(letter.failTime)}</td><td><code>${letter.id}</code></td></tr>`)}
          <//>`
        : html`<${Empty}>Nothing failed.<//>`}`;
  },
};
