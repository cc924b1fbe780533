// The bill: cost, confirmed and at most, over time and by model, voice and tag; and the failures.

import { ask, count, el, money } from "./dom.js";
import { bars, columns, steps } from "./charts.js";
import { change, state } from "./state.js";

let shown = null;

export async function showBill(root) {
  if (shown) return;
  shown = true;
  root.replaceChildren(el("p", { className: "quiet loading" }, "Adding up…"));
  try {
    const bill = await ask("/api/bill");
    root.replaceChildren(page(bill, bill.totals[0]?.currency ?? null));
  } catch (error) {
    shown = null;
    root.replaceChildren(el("p", { className: "trouble", role: "alert" }, error.message));
  }
}

function page(bill, currency) {
  if (!bill.totals.length) return el("p", { className: "quiet loading" }, "No request is published yet.");
  const of = (rows) => rows.filter((row) => row.currency === currency);
  const total = of(bill.totals)[0];
  const again = (chosen) => made.replaceWith(page(bill, chosen));
  const made = el("div", { className: "bill" },
    bill.totals.length > 1 ? currencies(bill.totals, currency, again) : null,
    figures(total),
    over(bill, of, total),
    el("div", { className: "stack" },
      breakdown("By model", "model", of(bill.by.model.rows), bill.by.model.more),
      tags(bill.by, of),
      histogram("Duration", "seconds", bill.duration)),
    el("div", { className: "stack" },
      breakdown("By voice", "voice", of(bill.by.voice.rows), bill.by.voice.more),
      histogram("Pace", "seconds per character", bill.pace)),
    failures(of(bill.failures), total));
  return made;
}

function currencies(totals, currency, chosen) {
  const choices = totals.map((one) => el("option", { value: one.currency ?? "", selected: one.currency === currency }, one.currency ?? "without a price"));
  return el("label", { className: "currency" }, "Currency ", el("select", { onchange: (event) => chosen(event.target.value || null) }, choices));
}

const unit = (row) => row.currency ?? "";
const differs = (row) => row.cost !== row.cost_upper_bound;

function figures(total) {
  const failed = total.failed + total.unknown;
  const cards = [
    ["cost", "Cost, confirmed", money(total.cost), unit(total),
      differs(total) ? `at most ${money(total.cost_upper_bound)}` : total.cost === null ? "no price is known" : "nothing more is possible"],
    ["characters", "Characters billed", count(total.characters_billed), "",
      total.characters_upper_bound === total.characters_billed ? "nothing more is possible" : `at most ${count(total.characters_upper_bound)}`],
    ["requests", "Requests", count(total.requests), "", `${count(total.succeeded)} succeeded${total.discarded ? `, ${count(total.discarded)} discarded` : ""}`],
    ["failed", "Failed", count(failed), "", `${share(failed, total.requests)} of requests${total.unknown ? `, ${count(total.unknown)} unknown` : ""}`],
    ["retries", "Retries", count(total.retries), "", `${share(total.retries, total.requests)} of requests`],
    ...(total.open_parts ? [["open", "Open parts", count(total.open_parts), "", "their processes run, or were killed: the most that they may spend is counted; run the job again to settle them"]] : []),
    ...(total.implausible ? [["implausible", "Usage that cannot be true", count(total.implausible), "",
      `requests as reported${total.cost_in_question === null ? "" : `, ${money(total.cost_in_question)} in question`}`]] : []),
    ...(total.requests_without_cost ? [["without", "Cost not known", count(total.requests_without_cost), "", "requests, not in the cost"]] : []),
  ];
  return el("section", { className: "figures", "aria-label": "Totals" }, cards.map(([name, title, value, after, note]) =>
    el("div", { className: "figure", data: { figure: name } },
      el("h2", {}, title), el("p", { className: `value${name === "failed" && failed ? " bad" : ""}` }, value, after ? el("small", {}, ` ${after}`) : null), el("p", { className: "quiet" }, note))));
}

const share = (part, whole) => `${((100 * part) / Math.max(1, whole)).toFixed(part && part / whole < 0.01 ? 2 : 1)}%`;

/** The figures to draw: money if the row has a cost, else characters. */
function measure(row) {
  const priced = row.cost !== null;
  return {
    confirmed: priced ? Number(row.cost) : row.characters_billed,
    possible: priced ? Number(row.cost_upper_bound) : row.characters_upper_bound,
  };
}

function over(bill, of, total) {
  const rows = of(bill.over_time.rows);
  const step = bill.over_time.step_s;
  const named = { 1: "second", 60: "minute", 3600: "hour", 86400: "day", 604800: "week" }[step] ?? (step < 3600 ? `${step < 60 ? `${step} s` : `${step / 60} min`}` : step < 86400 ? `${step / 3600} hours` : `${step / 86400} days`);
  const place = el("div", { className: "chart tall", role: "img", "aria-label": `Cost over time, per ${named}; the figures are in the table below` });
  const what = total.cost === null ? "Characters" : "Cost";
  let running = false;
  const draw = () => steps(place, rows.map((row) => ({ at: Date.parse(row.start) / 1000, ...measure(row) })), step, { running, unit: unit(total) });
  const toggle = el("div", { className: "segmented", role: "group", "aria-label": "Shown as" },
    [[false, `Per ${named}`], [true, "Running total"]].map(([value, label]) => el("button", {
      type: "button", "aria-pressed": value === running, onclick: (event) => {
        running = value;
        for (const one of toggle.children) one.setAttribute("aria-pressed", one === event.target);
        draw();
      },
    }, label)));
  queueMicrotask(draw);
  return card("wide-card", `${what} over time`, toggle, legend(), place,
    numbers(["Begins", "Requests", "Characters", "Cost", "At most"], rows.map((row) =>
      [row.start.slice(0, 19).replace("T", " "), count(row.requests), count(row.characters_billed), money(row.cost), money(row.cost_upper_bound)])));
}

const legend = () => el("p", { className: "legend" },
  el("span", { className: "key confirmed" }), "confirmed", el("span", { className: "key possible" }), "possible beyond it");

function breakdown(title, name, rows, more, extra = null) {
  const label = (row) => row.value ?? (name.startsWith("tag:") ? "without it" : "left to the service");
  const place = el("div", { className: "chart", role: "img", "aria-label": `${title}; the figures are in the table below` });
  queueMicrotask(() => bars(place, rows.slice(0, 10).map((row) => ({ label: label(row), ...measure(row) })), unit(rows[0] ?? {})));
  const table = numbers(["", "Requests", "Failed", "Retries", "Characters", "Cost", "At most"], rows.map((row) =>
    [label(row), count(row.requests), count(row.failed + row.unknown), count(row.retries), count(row.characters_billed), money(row.cost), money(row.cost_upper_bound)]));
  table.dataset.by = name;
  const note = more ? el("p", { className: "quiet" }, `and ${count(more)} more, which cost less each`) : null;
  return card("", title, extra, place, table, note);
}

function tags(by, of) {
  const names = Object.keys(by).filter((name) => name.startsWith("tag:"));
  if (!names.length) return card("", "By tag", el("p", { className: "quiet empty" }, "No tags: give tags by --tag or --tag-column to group the bill by them."));
  const chosen = names.includes(state.tag) ? state.tag : names[0];
  const made = breakdown("By tag", chosen, of(by[chosen].rows), by[chosen].more, el("select", {
    "aria-label": "Tag", onchange: (event) => {
      change({ tag: event.target.value });
      made.replaceWith(tags(by, of));
    },
  }, names.map((name) => el("option", { value: name, selected: name === chosen }, name.slice(4)))));
  return made;
}

function failures(rows, total) {
  const title = "Failures and retries";
  if (!rows.length) return card("wide-card", title, el("p", { className: "quiet empty" }, `Every request succeeded; ${count(total.retries)} ${total.retries === 1 ? "retry" : "retries"}.`));
  const label = (row) => row.error_code ?? row.outcome;
  const sorted = [...rows].sort((a, b) => b.requests - a.requests);
  const place = el("div", { className: "chart", role: "img", "aria-label": `${title} by code; the figures are in the table below` });
  queueMicrotask(() => bars(place, sorted.slice(0, 10).map((row) => ({ label: label(row), confirmed: row.requests, possible: row.requests, bad: true })), ""));
  const table = numbers(["Code", "Outcome", "Requests", "Of these retries", "May have cost"], sorted.map((row) =>
    [label(row), row.outcome, count(row.requests), count(row.retries), money(row.cost_upper_bound)]));
  table.dataset.by = "failures";
  return card("wide-card", title, place, table);
}

function histogram(title, what, found) {
  if (!found.counts) return card("", title, el("p", { className: "quiet empty" }, "No speech is published yet."));
  const place = el("div", { className: "chart", role: "img", "aria-label": `${title}: utterances by ${what}, median ${found.median.toPrecision(3)}` });
  queueMicrotask(() => columns(place, found, what));
  const digits = Math.max(0, -Math.floor(Math.log10(found.width)));
  const from = (bin) => (found.start + bin * found.width).toFixed(digits);
  const beyond = found.beyond ? `; ${count(found.beyond)} beyond, in the last bar` : "";
  const table = numbers([`From (${what})`, "Utterances"], found.counts.map((number, bin) => [from(bin), count(number)]));
  table.dataset.by = title.toLowerCase();
  return card("", title, el("p", { className: "quiet" }, `${what}; median ${found.median.toPrecision(3)}${beyond}`), place, table);
}

const card = (kind, title, ...content) => el("section", { className: `card ${kind}`, "aria-label": title },
  el("div", { className: "card-head" }, el("h2", {}, title), ...content.filter((one) => one?.matches?.("select, .segmented"))),
  ...content.filter((one) => one && !one.matches("select, .segmented")));

function numbers(heads, rows) {
  return el("details", { className: "numbers" }, el("summary", {}, "Figures"),
    el("div", { className: "wide" }, el("table", {},
      el("thead", {}, el("tr", {}, heads.map((head, place) => el("th", { scope: "col", className: place ? "number" : "" }, head)))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell, place) => el("td", { className: place ? "number" : "" }, cell))))))));
}
