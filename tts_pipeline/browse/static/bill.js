// The bill: cost, confirmed and at most, over time and by model, voice, tag and more; and the failures. By month.

import { budgets, open, reconciliation, saved } from "./accounts.js";
import { breakdown, card, legend, measure, numbers, share, unit } from "./cards.js";
import { ask, count, el, money, plural } from "./dom.js";
import { bars, columns, steps } from "./charts.js";
import { change, state } from "./state.js";

const WHOLE = "all";
const DAY_S = 86_400;
const WHO = { key_id: "Key", account: "Account", door: "Door", dataset: "Dataset" };
let shown = null;

/** Show the bill in an element, and a choice of months; `loaded` is called with each bill. */
export async function showBill(root, loaded = () => {}) {
  if (shown) return;
  shown = { place: el("div", {}), chooser: el("div", { className: "chooser" }), asked: null, loaded };
  root.replaceChildren(shown.chooser, shown.place);
  await load();
}

async function load() {
  shown.asked?.abort();
  const { signal } = (shown.asked = new AbortController());
  const query = new URLSearchParams(["month", "timezone"].filter((name) => state[name]).map((name) => [name, state[name]]));
  if (!shown.bill) shown.place.replaceChildren(el("p", { className: "quiet loading" }, "Adding up…"));
  shown.place.setAttribute("aria-busy", "true");
  try {
    shown.bill = await ask(`/api/bill?${query}`, signal);
    show();
    shown.loaded(shown.bill);
  } catch (error) {
    if (signal.aborted) return;
    shown.bill = null;
    shown.place.replaceChildren(el("p", { className: "trouble", role: "alert" }, error.message));
  }
  shown.place.removeAttribute("aria-busy");
}

function show() {
  const { bill } = shown;
  const known = bill.totals.map((one) => one.currency);
  if (!known.includes(shown.currency)) shown.currency = known[0] ?? null;
  shown.place.replaceChildren(page(bill, shown.currency));
  choose(bill);
}

function choose(bill) {
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const zones = [...new Set([...bill.timezones, own].filter(Boolean))];
  const months = bill.months.map((one) => [one.month, `${one.month}${one.is_current ? " (this month)" : ""}${one.frozen_at ? " · frozen" : ""}`]);
  if (![WHOLE, ...bill.months.map((one) => one.month)].includes(bill.month)) months.push([bill.month, bill.month]);
  choice("Month", [...months, [WHOLE, "All months"]], bill.month, (month) => changed({ month }));
  choice("Time zone", zones.map((zone) => [zone, zone]), bill.timezone, (timezone) => changed({ timezone }));
  choice("Currency", bill.totals.length > 1 ? bill.totals.map((one) => [one.currency ?? "", one.currency ?? "without a price"]) : [], shown.currency ?? "", (currency) => {
    shown.currency = currency || null;
    show();
  });
}

function changed(values) {
  change(values);
  load();
}

/** Update a field of the chooser in place, so that it keeps the focus. */
function choice(name, options, value, chosen) {
  let field = shown.chooser.querySelector(`select[aria-label="${name}"]`);
  if (!field) {
    field = el("select", { "aria-label": name });
    shown.chooser.append(el("label", {}, `${name} `, field));
  }
  field.onchange = () => chosen(field.value);
  field.replaceChildren(...options.map(([each, label]) => el("option", { value: each }, label)));
  field.value = value;
  field.closest("label").hidden = !options.length;
}

function page(bill, currency) {
  const of = (rows) => rows.filter((row) => row.currency === currency);
  const isPast = bill.months.some((one) => one.month === bill.month && !one.is_current);
  const beside = [isPast ? null : budgets(bill.budgets), open(bill.open, Boolean(bill.place))];
  if (!bill.totals.length) {
    const nothing = bill.month === WHOLE ? "No request is published yet." : `No request of ${bill.month} is published.`;
    return el("div", { className: "bill" }, el("p", { className: "quiet loading wide-card" }, nothing), beside, saved(bill.saved));
  }
  const total = of(bill.totals)[0];
  const by = (title, name, absent) => breakdown(title, name, of(bill.by[name].rows), bill.by[name].more, absent);
  const named = [by("By model", "model", "not known"), tags(bill.by, of)];
  return el("div", { className: "bill" },
    figures(total, bill),
    over(bill, of, total),
    beside,
    el("div", { className: "stack" },
      bill.place ? named.reverse() : named,
      bill.duration ? histogram("Duration", "seconds", bill.duration) : null),
    el("div", { className: "stack" },
      who(bill.by, of),
      by("By voice", "voice", "left to the service"),
      bill.pace ? histogram("Pace", "seconds per character", bill.pace) : null),
    saved(bill.saved),
    bill.reconciliation ? reconciliation(bill, currency) : null,
    failures(of(bill.failures), total));
}

const differs = (row) => row.cost !== row.cost_upper_bound;

function figures(total, bill) {
  const failed = total.failed + total.unknown;
  const cards = [
    ["cost", "Cost, confirmed", money(total.cost), unit(total),
      differs(total) ? `at most ${money(total.cost_upper_bound)}` : total.cost === null ? "no price is known" : "nothing more is possible"],
    ["characters", "Characters billed", count(total.characters_billed), "",
      total.characters_upper_bound === total.characters_billed ? "nothing more is possible" : `at most ${count(total.characters_upper_bound)}`],
    ["requests", "Requests", count(total.requests), "", `${count(total.succeeded)} succeeded${total.discarded ? `, ${count(total.discarded)} discarded` : ""}`],
    ["failed", "Failed", count(failed), "", `${share(failed, total.requests)} of requests${total.unknown ? `, ${count(total.unknown)} unknown` : ""}`],
    ["retries", "Retries", count(total.retries), "", `${share(total.retries, total.requests)} of requests`],
    ...bill.saved.totals.filter((one) => one.currency === total.currency && one.cost !== null).map((one) =>
      ["saved", "Saved by reuse", money(one.cost), unit(total), `${plural(one.rows, "row")} whose audio was not bought again`]),
    ...(total.open_parts ? [["open", "Open parts", count(total.open_parts), "", "their processes run, or were killed: the most that they may spend is counted; run the job again to settle them"]] : []),
    ...(total.corrections ? [["corrections", "Corrections", count(total.corrections), "", `requests that came after the month was frozen, ${money(total.correction_cost)} of the cost`]] : []),
    ...(total.implausible ? [["implausible", "Usage that cannot be true", count(total.implausible), "",
      `requests as reported${total.cost_in_question === null ? "" : `, ${money(total.cost_in_question)} in question`}`]] : []),
    ...(total.requests_without_cost ? [["without", "Cost not known", count(total.requests_without_cost), "", "requests, not in the cost"]] : []),
  ];
  return el("section", { className: "figures", "aria-label": "Totals" }, cards.map(([name, title, value, after, note]) =>
    el("div", { className: "figure", data: { figure: name } },
      el("h2", {}, title), el("p", { className: `value${name === "failed" && failed ? " bad" : ""}` }, value, after ? el("small", {}, ` ${after}`) : null), el("p", { className: "quiet" }, note))));
}

/** The first and the last instant of a month on the axis of time, in seconds; null for another time. */
function monthSpan(month) {
  const [year, number] = month.split("-").map(Number);
  return month === WHOLE ? null : [Date.UTC(year, number - 1), Date.UTC(year, number)].map((ms) => ms / 1000);
}

function over(bill, of, total) {
  const rows = of(bill.over_time.rows);
  const step = bill.over_time.step_s;
  const named = { 1: "second", 60: "minute", 3600: "hour", 86400: "day", 604800: "week" }[step] ?? (step < 3600 ? `${step < 60 ? `${step} s` : `${step / 60} min`}` : step < 86400 ? `${step / 3600} hours` : `${step / 86400} days`);
  const place = el("div", { className: "chart tall", role: "img", "aria-label": `Cost over time, per ${named}; the figures are in the table below` });
  const what = total.cost === null ? "Characters" : "Cost";
  let running = false;
  const draw = () => steps(place, rows.map((row) => ({ at: Date.parse(`${row.start}Z`) / 1000, ...measure(row) })), step, { running, unit: unit(total), span: step >= DAY_S ? monthSpan(bill.month) : null });
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

function tags(by, of) {
  const names = Object.keys(by).filter((name) => name.startsWith("tag:"));
  if (!names.length) return card("", "By tag", el("p", { className: "quiet empty" }, "No tags: give tags by --tag or --tag-column to group the bill by them."));
  const first = names.includes("tag:team") ? "tag:team" : names[0];
  return chosen("By tag", "Tag", "tag", names.map((name) => [name, name.slice(4)]), first, (name) => `(no ${name.slice(4)})`, by, of);
}

function who(by, of) {
  const names = Object.entries(WHO).filter(([name]) => by[name]);
  return chosen("By key", "Key, account or door", "by", names, "key_id", () => "not known", by, of);
}

/** A breakdown by one of several keys; the address keeps the chosen one as `kept`; `absent` names what lacks a key. */
function chosen(title, label, kept, names, first, absent, by, of) {
  const name = names.some(([each]) => each === state[kept]) ? state[kept] : first;
  const heading = kept === "by" ? `By ${WHO[name].toLowerCase()}` : title;
  const made = breakdown(heading, name, of(by[name].rows), by[name].more, absent(name), el("select", {
    "aria-label": label, onchange: (event) => {
      change({ [kept]: event.target.value });
      const next = chosen(title, label, kept, names, first, absent, by, of);
      made.replaceWith(next);
      next.querySelector("select").focus();
    },
  }, names.map(([each, text]) => el("option", { value: each, selected: each === name }, text))));
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
