// Services, replicas, and the rates and durations of every RPC.

import { get } from "/console/api.js";
import {
  age, Empty, Filter, Health, html, MAX_SAMPLES, megabytes, milliseconds, ownerOf, Plot, rate, shortMethod,
} from "/console/ui.js";

const SERIES = ["callsPerSecond", "errorsPerSecond", "p50Seconds", "p99Seconds"];
const RECENT_SAMPLES = 30;

export const initial = { services: null, times: [], methods: new Map(), filter: "" };

// Appends the samples of an answer to those that are known: the server sends each once.
export function merge({ times, methods }, answer) {
  const added = answer.sampleTimes.length;
  const byMethod = new Map(answer.methods.map((series) => [series.method, series]));
  const merged = new Map();
  for (const method of new Set([...methods.keys(), ...byMethod.keys()])) {
    const known = methods.get(method);
    const found = byMethod.get(method);
    const series = {};
    for (const name of SERIES) {
      const before = known ? known[name] : Array(times.length).fill(0);
      series[name] = before.concat(found ? found[name] : Array(added).fill(0)).slice(-MAX_SAMPLES);
    }
    if (series.callsPerSecond.some(Boolean)) merged.set(method, series);
  }
  return { times: times.concat(answer.sampleTimes).slice(-MAX_SAMPLES), methods: merged };
}

const sum = (values) => values.reduce((total, value) => total + value, 0);

function total(methods, name) {
  const all = [...methods.values()].map((series) => series[name]);
  return all.length ? all[0].map((_, index) => sum(all.map((values) => values[index]))) : [];
}

function slowest(methods) {
  const all = [...methods.values()].map((series) => series.p99Seconds);
  return all.length ? all[0].map((_, index) => Math.max(...all.map((values) => values[index]))) : [];
}

function Service({ service }) {
  return html`<article class="card">
    <h3>${service.name} <${Health} healthy=${service.healthy} /></h3>
    <ul class="replicas">
      ${service.replicas.map((replica) => html`<li key=${replica.number}>
        <span>replica ${replica.number}</span>
        ${replica.answers
          ? html`<span>${replica.version}, up ${age(replica.startTime)}</span>
              <span>${megabytes(replica.memoryBytes)}, ${(100 * replica.cpuShare).toFixed(1)} % CPU</span>`
          : html`<${Health} healthy=${false} no="does not answer" />`}
      </li>`)}
    </ul>
  </article>`;
}

function Method({ method, series }) {
  const inMilliseconds = (values) => values.map((value) => 1000 * value);
  return html`<li class="method">
    <a href="#requests?method=${method}" title="Requests of ${method}">
      <small>${ownerOf(method)}</small> ${shortMethod(method)}
    </a>
    <${Plot} values=${series.callsPerSecond} label="Calls per second" format=${rate} />
    <${Plot} values=${series.errorsPerSecond} label="Errors per second" format=${rate} tone="alarm" />
    <${Plot} values=${inMilliseconds(series.p50Seconds)} label="Median duration" format=${milliseconds} sparse />
    <${Plot} values=${inMilliseconds(series.p99Seconds)} label="99th percentile of durations"
      format=${milliseconds} sparse />
  </li>`;
}

export default {
  name: "mesh",
  title: "Mesh",
  milliseconds: 2000,

  async load(state) {
    const answer = await get("/v1/console/mesh", { afterTime: state.times.at(-1) });
    return { services: answer.services, ...merge(state, answer) };
  },

  view(state, update) {
    if (!state.services) return html`<${Empty}>Loading<//>`;
    const recent = ([, series]) => sum(series.callsPerSecond.slice(-RECENT_SAMPLES));
    const wanted = state.filter.toLowerCase();
    const methods = [...state.methods].filter(([method]) => method.toLowerCase().includes(wanted));
    methods.sort((one, other) => recent(other) - recent(one) || one[0].localeCompare(other[0]));
    return html`
      <section class="cards" aria-label="Services">
        ${state.services.map((service) => html`<${Service} key=${service.name} service=${service} />`)}
      </section>
      <section class="cards totals" aria-label="All RPCs">
        <div class="card"><h3>Calls per second</h3>
          <${Plot} values=${total(state.methods, "callsPerSecond")} label="Calls per second" format=${rate} /></div>
        <div class="card"><h3>Errors per second</h3>
          <${Plot} values=${total(state.methods, "errorsPerSecond")} label="Errors per second" format=${rate}
            tone="alarm" /></div>
        <div class="card"><h3>Slowest RPC, p99</h3>
          <${Plot} values=${slowest(state.methods).map((value) => 1000 * value)} label="Slowest RPC"
            format=${milliseconds} sparse /></div>
      </section>
      <section aria-label="RPCs">
        <div class="bar"><h3>RPCs of the last ten minutes</h3>
          <${Filter} value=${state.filter} label="Filter RPCs" onInput=${(filter) => update({ filter })} /></div>
        <ul class="methods">
          <li class="method head" aria-hidden="true">
            <span>RPC</span><span>calls/s</span><span>errors/s</span><span>p50</span><span>p99</span>
          </li>
          ${methods.map(([method, series]) => html`<${Method} key=${method} method=${method} series=${series} />`)}
        </ul>
        ${!methods.length && html`<${Empty}>No calls yet.<//>`}
      </section>`;
  },
};
