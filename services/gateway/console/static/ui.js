// Elements that several views have, and how values are written.

import { h } from "/console/vendor/preact/preact.mjs";
import htm from "/console/vendor/htm/htm.mjs";

export const html = htm.bind(h);

const WIDTH = 150;
const HEIGHT = 28;
export const MAX_SAMPLES = 300;
const MIN_SAMPLES = 60;

export const rate = (value) => (value >= 100 ? value.toFixed(0) : value.toFixed(1));
export const milliseconds = (value) => `${value >= 100 ? value.toFixed(0) : value.toFixed(1)} ms`;
export const seconds = (duration) => Number.parseFloat(duration || "0");
export const shortMethod = (method) => method.split(".").at(-1).replace("/", ".");
export const ownerOf = (method) => method.split(".")[1] ?? "";
export const megabytes = (bytes) => `${(Number(bytes) / 2 ** 20).toFixed(0)} MiB`;

export function clock(time) {
  return new Date(time).toLocaleTimeString([], { hour12: false });
}

export function moment(time) {
  return time ? new Date(time).toLocaleString([], { hour12: false }) : "";
}

export function age(time) {
  const passed = Math.max(0, (Date.now() - new Date(time)) / 1000);
  if (passed < 60) return `${passed.toFixed(0)} s`;
  if (passed < 3600) return `${Math.floor(passed / 60)} min`;
  return `${Math.floor(passed / 3600)} h ${Math.floor((passed % 3600) / 60)} min`;
}

// Minor units as a decimal: the ledger's totals name no exponent, so they are shown as integers with separators.
export const units = (value) => BigInt(value || 0).toLocaleString();

// A small plot of the last ten minutes, the newest value at its right, with that value as text beside it. Of durations,
// which there are none of without calls, `sparse` shows the last one.
export function Plot({ values, label, format, tone = "calm", sparse = false }) {
  const most = Math.max(...values, 0);
  const room = Math.max(values.length, MIN_SAMPLES);
  const points = values.map((value, index) => {
    const x = ((room - values.length + index) * WIDTH) / (room - 1);
    return `${x.toFixed(1)},${(HEIGHT - 1 - (most ? value / most : 0) * (HEIGHT - 3)).toFixed(1)}`;
  });
  const newest = (sparse ? values.findLast(Boolean) : values.at(-1)) ?? 0;
  const spoken = `${label}: ${format(newest)} ${sparse ? "last" : "now"}, at most ${format(most)} in the last ten minutes`;
  return html`<span class="plot ${tone}" title=${spoken}>
    <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label=${spoken}>
      ${points.length > 1 && html`<polyline points=${points.join(" ")} vector-effect="non-scaling-stroke" />`}
    </svg>
    <span class="value">${format(newest)}</span>
  </span>`;
}

export function Badge({ tone, children }) {
  return html`<span class="badge ${tone}">${children}</span>`;
}

export function Health({ healthy, yes = "healthy", no = "unhealthy" }) {
  return html`<${Badge} tone=${healthy ? "good" : "bad"}>${healthy ? yes : no}<//>`;
}

export function Empty({ children }) {
  return html`<p class="empty">${children}</p>`;
}

// A search field that "/" focuses.
export function Filter({ value, onInput, label }) {
  return html`<input id="filter" type="search" value=${value} placeholder=${label} aria-label=${label}
    onInput=${(event) => onInput(event.target.value)} />`;
}

// `head` has names, or pairs of a name and a class: "number", or "wide" for what a phone has no room for.
export function Table({ head, children, label, className = "" }) {
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${label}>
    <table class=${className}>
      <thead><tr>${head.map((column) => {
        const [name, kind] = [column].flat();
        return html`<th scope="col" class=${kind}>${name}</th>`;
      })}</tr></thead>
      <tbody>${children}</tbody>
    </table>
  </div>`;
}
