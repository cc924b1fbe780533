// The chosen row: its audio, its columns, and each request that was sent for it.

import { ask, count, el, moment, money, seconds } from "./dom.js";
import { Player } from "./player.js";

export class Panel {
  constructor(root, closed) {
    this.root = root;
    this.closed = closed;
    this.player = null;
  }

  /** Show a row; `place` is table/part/number. */
  async show(place) {
    this.place = place;
    this.asking?.abort();
    this.asking = new AbortController();
    try {
      const found = await ask(`/api/row/${place}`, this.asking.signal);
      if (this.place === place) this.#fill(place, found);
    } catch (error) {
      if (error.name !== "AbortError") this.#put(head("This row cannot be read", this.closed), el("p", { className: "trouble" }, error.message));
    }
  }

  close() {
    this.place = null;
    this.asking?.abort();
    this.player?.close();
    this.player = null;
    this.root.hidden = true;
    this.root.replaceChildren();
  }

  #fill(place, { row, requests }) {
    const rejected = place.startsWith("rejects/");
    const player = rejected ? null : new Player(place, row);
    this.#put(
      head(row.utterance_id, this.closed),
      player?.element ?? reason(row),
      facts(rejected ? rejectFacts(row) : speechFacts(row)),
      el("h3", {}, `Requests (${count(requests.length)})`),
      requests.length ? sent(requests) : el("p", { className: "quiet" }, bought(row)),
      ...input(row.input),
    );
    this.player = player;
  }

  #put(...children) {
    this.player?.close();
    this.player = null;
    this.root.replaceChildren(...children);
    this.root.scrollTop = 0;
    this.root.hidden = false;
  }
}

const head = (title, close) => el("div", { className: "panel-head" },
  el("h2", { title }, title),
  el("button", { className: "round", type: "button", "aria-label": "Close", title: "Close (Esc)", onclick: close }, "×"));

const reason = (row) => el("div", { className: "reason" },
  el("span", { className: "chip bad" }, row.error_code), el("p", {}, row.message));

const bought = (row) => (row.deduplicated_from ? `None: its audio is that of ${row.deduplicated_from}.` : "None are published.");

const speechFacts = (row) => [
  ["Voice", row.voice ?? "left to the service"],
  ["Language", row.language ?? "left to the service"],
  ["Model", `${row.model} on ${row.service}`],
  ["Audio", `${row.audio_format}, ${row.sample_rate_hz / 1000} kHz, ${row.channels === 1 ? "mono" : `${row.channels} channels`}`],
  ["Duration", `${seconds(row.duration_ms)} s`],
  ["Flags", row.quality.length ? row.quality.map((flag) => el("span", { className: "chip" }, flag)) : "none"],
  ["Characters", `${count(row.characters_billed)} billed`],
  ["Cost", cost(row)],
  ["Attempts", `${row.attempts} in ${row.segments} segment${row.segments === 1 ? "" : "s"}`],
  ["Request id", code(row.request_id)],
  ["Made", moment(row.created_at)],
  ...(row.take ? [["Take", row.take]] : []),
];

const rejectFacts = (row) => [
  ["Kind", row.error_class],
  ["Cost", cost(row)],
  ["Attempts", row.attempts],
  ["Given up", moment(row.failed_at)],
];

const cost = (row) => (row.cost === null ? "not known" : `${money(row.cost)} ${row.currency ?? ""}`);
const code = (text) => (text === null ? "–" : el("code", {}, text));

const facts = (known) => el("dl", { className: "facts" },
  known.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]).flat());

function sent(requests) {
  return el("ol", { className: "requests" }, requests.map((one) => el("li", {},
    el("span", { className: `chip ${one.outcome === "succeeded" ? "good" : "bad"}` }, one.error_code ?? one.outcome),
    el("span", {}, [
      one.http_status === null ? "no answer" : `status ${one.http_status}`,
      ...(one.latency_ms === null ? [] : [`${count(one.latency_ms)} ms`]),
      cost(one),
    ].join(" · ")),
    el("span", { className: "quiet" }, moment(one.started_at).slice(0, 19), one.segment ? `, segment ${one.segment + 1}` : ""),
    code(one.request_id))));
}

function input(columns) {
  const known = Object.entries(columns ?? {});
  if (!known.length) return [];
  const shown = (value) => (value === null ? "–" : typeof value === "string" ? value : JSON.stringify(value));
  return [el("h3", {}, "From the source"), facts(known.map(([name, value]) => [name, shown(value)]))];
}
