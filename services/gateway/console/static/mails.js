// The mails that a development system keeps instead of sending them.

import { get } from "/console/api.js";
import { Badge, Empty, html, moment } from "/console/ui.js";

export const initial = { messages: null };

const LINK = /(https?:\/\/\S+)/;

function withLinks(text) {
  return text.split(LINK).map((part) =>
    LINK.test(part) ? html`<a href=${part} target="_blank" rel="noreferrer">${part}</a>` : part);
}

export default {
  name: "mails",
  title: "Mails",
  milliseconds: 4000,

  load: () => get("/v1/mail/messages", { pageSize: "100" }),

  view(state) {
    if (!state.messages) return html`<${Empty}>Loading<//>`;
    if (!state.messages.length) return html`<${Empty}>No mails yet: register an account, or reset a password.<//>`;
    return html`<div class="list">${state.messages.map((mail) => html`<details class="row" key=${mail.id}>
      <summary class="mail"><strong>${mail.subject}</strong> <span>${mail.address}</span>
        <${Badge} tone="calm">${mail.state.replace("MAIL_STATE_", "").toLowerCase()}<//>
        <small>${moment(mail.createTime)}</small></summary>
      <pre>${withLinks(mail.text)}</pre>
    </details>`)}</div>`;
  },
};
