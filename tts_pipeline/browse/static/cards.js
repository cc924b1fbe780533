// The pieces of the bill: cards, tables of figures, and breakdowns with a chart and its table.

import { bars } from "./charts.js";
import { count, el, money } from "./dom.js";

export const unit = (row) => row.currency ?? "";
export const share = (part, whole) => `${((100 * part) / Math.max(1, whole)).toFixed(part && part / whole < 0.01 ? 2 : 1)}%`;

/** The figures to draw: money if the row has a cost, else characters. */
export function measure(row) {
  const priced = row.cost !== null;
  return {
    confirmed: priced ? Number(row.cost) : row.characters_billed,
    possible: priced ? Number(row.cost_upper_bound) : row.characters_upper_bound,
  };
}

export const legend = () => el("p", { className: "legend" },
  el("span", { className: "key confirmed" }), "confirmed", el("span", { className: "key possible" }), "possible beyond it");

export const card = (kind, title, ...content) => el("section", { className: `card ${kind}`, "aria-label": title },
  el("div", { className: "card-head" }, el("h2", {}, title), ...content.filter((one) => one?.matches?.("select, .segmented"))),
  ...content.filter((one) => one && !one.matches("select, .segmented")));

/** A table whose first column names its rows; the columns of `words` are text, all others numbers. */
export function table(heads, rows, words = [0]) {
  const kind = (place) => (words.includes(place) ? "" : "number");
  return el("div", { className: "wide" }, el("table", {},
    el("thead", {}, el("tr", {}, heads.map((head, place) => el("th", { scope: "col", className: kind(place) }, head)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell, place) => el("td", { className: kind(place) }, cell)))))));
}

export const numbers = (heads, rows) => el("details", { className: "numbers" }, el("summary", {}, "Figures"), table(heads, rows));

/** The most expensive values of a key, as bars and as a table. */
export function breakdown(title, name, rows, more, absent, extra = null) {
  const label = (row) => row.value ?? absent;
  const place = el("div", { className: "chart", role: "img", "aria-label": `${title}; the figures are in the table below` });
  queueMicrotask(() => bars(place, rows.slice(0, 10).map((row) => ({ label: label(row), ...measure(row) })), unit(rows[0] ?? {})));
  const figures = numbers(["", "Requests", "Failed", "Retries", "Characters", "Cost", "At most"], rows.map((row) =>
    [label(row), count(row.requests), count(row.failed + row.unknown), count(row.retries), count(row.characters_billed), money(row.cost), money(row.cost_upper_bound)]));
  figures.dataset.by = name;
  const note = more ? el("p", { className: "quiet" }, `and ${count(more)} more, which cost less each`) : null;
  return card("", title, extra, place, figures, note);
}
