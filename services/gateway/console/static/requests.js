// The last requests through the public port, and the spans of one.

import { get } from "/console/api.js";
import { Badge, clock, Empty, html, milliseconds, seconds, shortMethod, Table } from "/console/ui.js";

const NANOSECONDS_DIGITS = 9;

export const initial = { traces: null, otlpEndpoint: "", method: "", shown: "", trace: null };

function tone(trace) {
  if (trace.failed || trace.httpStatus >= 500) return "bad";
  return trace.httpStatus >= 400 || (trace.status && trace.status !== "OK") ? "warn" : "good";
}

function outcome(trace) {
  return [trace.httpStatus || "", trace.reason || (trace.status === "OK" ? "" : trace.status)].filter(Boolean).join(" ");
}

// Nanoseconds since the epoch: Date has milliseconds only.
function nanoseconds(time) {
  const [whole, fraction = ""] = time.replace("Z", "").split(".");
  return BigInt(Date.parse(`${whole}Z`)) * 1_000_000n + BigInt(fraction.padEnd(NANOSECONDS_DIGITS, "0") || 0);
}

// Spans in the order of a tree, each with its depth: children by start time below what caused them.
export function tree(spans) {
  const ids = new Set(spans.map((span) => span.spanId));
  const below = Map.groupBy(spans, (span) => (ids.has(span.parentSpanId) ? span.parentSpanId : ""));
  const ordered = [];
  const walk = (parent, depth) => {
    for (const span of below.get(parent) ?? []) {
      ordered.push({ ...span, depth });
      walk(span.spanId, depth + 1);
    }
  };
  walk("", 0);
  return ordered;
}

function Row({ trace }) {
  return html`<tr>
    <td class="narrow">${clock(trace.startTime)}</td>
    <td><a href="#requests/${trace.traceId}">
      ${trace.method ? shortMethod(trace.method) : html`${trace.httpMethod} ${trace.path}`}</a>
      <small class="wide">${trace.httpMethod} ${trace.path}</small></td>
    <td><${Badge} tone=${tone(trace)}>${outcome(trace)}<//></td>
    <td class="number">${milliseconds(1000 * seconds(trace.duration))}</td>
    <td class="wide">${trace.services.join(" → ")}</td>
    <td class="number wide">${trace.spanCount}</td>
  </tr>`;
}

function Bar({ span, start, length }) {
  const left = Number((100_000n * (nanoseconds(span.startTime) - start)) / length) / 1000;
  const width = Math.max(0.3, (100 * seconds(span.duration) * 1e9) / Number(length));
  const kept = Math.min(Math.max(0, left), 99.7);
  return html`<svg class="span ${span.failed ? "bad" : span.service}" aria-hidden="true">
    <rect x="${kept}%" width="${Math.min(width, 100 - kept)}%" height="100%" rx="2" /></svg>`;
}

function nameOf(span) {
  if (span.service === "envoy") return `${span.attributes["azora.listener"]} listener`;
  return span.attributes["db.query.text"] ? span.name : shortMethod(span.name);
}

function SpanRow({ span, start, length }) {
  const sql = span.attributes["db.query.text"];
  return html`<details class="row">
    <summary>
      <span class="indent" style=${{ paddingLeft: `${Math.min(span.depth, 8) * 0.75}rem` }}>
        <small class="service ${span.service}">${span.service}</small>
        ${nameOf(span)}
      </span>
      <${Bar} span=${span} start=${start} length=${length} />
      <span class="number">${milliseconds(1000 * seconds(span.duration))}</span>
    </summary>
    ${sql && html`<pre>${sql}</pre>`}
    <dl>${Object.entries(span.attributes).filter(([name]) => name !== "db.query.text").map(([name, value]) =>
      html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>
  </details>`;
}

function Trace({ trace: { trace, spans } }) {
  const start = spans.map((span) => nanoseconds(span.startTime)).reduce((one, other) => (one < other ? one : other));
  const ends = spans.map((span) => nanoseconds(span.startTime) + BigInt(Math.round(1e9 * seconds(span.duration))));
  const length = ends.reduce((one, other) => (one > other ? one : other)) - start || 1n;
  return html`
    <p><a href="#requests">All requests</a></p>
    <h3>${trace.method ? shortMethod(trace.method) : trace.path} <${Badge} tone=${tone(trace)}>${outcome(trace)}<//></h3>
    <p class="muted">${trace.httpMethod} ${trace.path}, ${milliseconds(1000 * seconds(trace.duration))},
      ${" "}${trace.spanCount} spans, trace <code>${trace.traceId}</code></p>
    <div class="waterfall">
      ${tree(spans).map((span) => html`<${SpanRow} key=${span.spanId} span=${span} start=${start} length=${length} />`)}
    </div>`;
}

export default {
  name: "requests",
  title: "Requests",
  milliseconds: 2000,

  async load(state, route) {
    if (route.item) {
      return { shown: route.item, trace: await get(`/v1/console/traces/${encodeURIComponent(route.item)}`) };
    }
    const method = route.parameters.get("method") ?? "";
    return { shown: "", trace: null, method, ...(await get("/v1/console/traces", { method, pageSize: "500" })) };
  },

  view(state, update, route) {
    if (route.item) return state.shown === route.item ? html`<${Trace} trace=${state.trace} />` : html`<${Empty}>Loading<//>`;
    if (!state.traces) return html`<${Empty}>Loading<//>`;
    if (state.otlpEndpoint) {
      const endpoint = state.otlpEndpoint;
      return html`<p>Traces are exported to ${" "}
        ${endpoint.startsWith("http") ? html`<a href=${endpoint}>${endpoint}</a>` : html`<code>${endpoint}</code>`},
        as <code>AZORA_OTLP_ENDPOINT</code> says.</p>`;
    }
    return html`
      ${state.method && html`<p>Requests of <code>${state.method}</code>. <a href="#requests">Show all</a></p>`}
      <${Table} head=${[["Time", "narrow"], "Request", "Status", ["Duration", "number"], ["Through", "wide"],
        ["Spans", "number wide"]]} label="Requests" className="requests">
        ${state.traces.map((trace) => html`<${Row} key=${trace.traceId} trace=${trace} />`)}
      <//>
      ${!state.traces.length && html`<${Empty}>No requests yet. They appear about a second after they end,
        unless <code>AZORA_TRACE_SAMPLE_RATIO</code> is 0.<//>`}`;
  },
};
