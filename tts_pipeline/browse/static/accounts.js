// What the bill holds beside its sums: budgets, open runs, savings by reuse, and the reconciliation with invoices.

import { card, legend, table } from "./cards.js";
import { count, el, money, moment, plural } from "./dom.js";

const amount = (text, unit) => (unit === "characters" ? count(Number(text)) : money(text));

/** Budgets in their present period: used, possible, and the forecast for the period's end. */
export function budgets({ rows, trouble }) {
  const title = "Budgets";
  if (trouble) return card("wide-card budgets", title, el("p", { className: "trouble" }, trouble));
  if (!rows.length) return null;
  const rest = [];
  const cells = rows.map((row) => {
    const all = Number(row.amount) || 1;
    const widths = [["confirmed", row.used], ["possible", row.possible]].map(([kind, part]) => {
      const bar = el("span", { className: kind });
      bar.style.width = `${Math.min(100, (100 * Number(part)) / all)}%`;
      return bar;
    });
    if (row.waiting_workers) rest.push(`${row.name}: ${plural(row.waiting_workers, "run")} waiting for its money`);
    const forecast = row.forecast === null ? "–" : amount(Number(row.forecast).toFixed(row.unit === "characters" ? 0 : 2), row.unit);
    return [
      el("span", { title: row.condition }, row.name), row.condition, [row.period ?? row.per, row.timezone].filter(Boolean).join(" "),
      el("span", { className: "meter", "aria-hidden": "true" }, widths),
      ...[row.used, row.possible, row.leased, row.left, row.amount].map((text) => amount(text, row.unit)),
      el("span", { className: row.exceeds ? "chip bad" : "" }, forecast), row.unit,
    ];
  });
  const heads = ["Budget", "Counts", "Period", "", "Used", "Possible", "In use", "Left", "Budget", "Forecast", "Unit"];
  const made = table(heads, cells, [0, 1, 2, 3, 10]);
  made.dataset.by = "budgets";
  return card("wide-card budgets", title, legend(), made, ...rest.map((note) => el("p", { className: "quiet" }, note)));
}

const bound = (row) => {
  if (row.cost_upper_bound !== null) return `${money(row.cost_upper_bound)} ${row.currency ?? ""}`;
  return row.characters_upper_bound === null ? "no cap" : plural(row.characters_upper_bound, "character");
};

/** Runs of a ledger, or parts of a dataset, that are open: they go on, or were killed. */
export function open(rows, isLedger) {
  if (!rows.length) return null;
  const cells = rows.map((row) => [
    row.what, row.makes, row.door ?? "–", row.model, Object.entries(row.tags).map(([key, value]) => `${key}=${value}`).join(", "),
    moment(row.since), row.who, bound(row),
  ]);
  const made = table([isLedger ? "Run" : "Part", "Makes", "Door", "Model", "Tags", "Since", "Process", "At most"], cells, [0, 1, 2, 3, 4, 5, 6]);
  made.dataset.by = "open";
  return card("wide-card", isLedger ? "Open runs" : "Open parts", el("p", { className: "quiet" }, isLedger
    ? "They still run, or were killed. What they have not published is not in the sums: run a killed job again."
    : "They still run, or were killed. The most that they may spend is in the sums: run a killed job again to settle it."), made);
}

/** What reuse saved, by who paid first; a place is empty for equal rows of one job. */
export function saved({ rows, more }) {
  if (!rows.length) return null;
  const made = table(["Paid first by", "Rows", "Characters", "Would have cost", "Unit"], rows.map((row) => [
    row.from || "an equal row of the same job", count(row.rows), count(row.characters), money(row.cost), row.currency ?? "–",
  ]), [0, 4]);
  made.dataset.by = "saved";
  return card("wide-card", "Saved by reuse", el("p", { className: "quiet" }, "Rows whose audio was not bought again, at the price of that time. They are not in the cost."),
    made, more ? el("p", { className: "quiet" }, `and from ${plural(more, "more place")}, which saved less each`) : null);
}

/** From the cost of the requests, over corrections and settlements, to the cost now and what is possible beyond it. */
export function reconciliation(bill, currency) {
  const title = "Reconciliation";
  const found = bill.reconciliation.find((row) => row.currency === currency);
  if (!found) return null;
  const steps = [
    ...(bill.frozen ? [["Cost when the month was frozen", money(found.frozen_cost)]] : []),
    ["Cost of the requests", money(found.requests_cost)],
    ...(found.corrections ? [[`Of these ${plural(found.corrections, "correction")}, after the month was frozen`, money(found.correction_cost)]] : []),
    ["Settled by invoices", money(found.settled_cost ?? "0")],
    ["Cost, confirmed", money(found.cost)],
    ["Possible beyond it: failed and unknown requests that may be charged", money(found.still_possible)],
  ];
  const bridge = table(["", unitOf(currency)], steps);
  bridge.dataset.by = "reconciliation";
  const settled = bill.settlements.filter((row) => row.currency === currency);
  const made = table(["Settlement", "Rows", "Characters", "Cost", "Possible"], settled.map((row) =>
    [row.name, count(row.rows), count(row.characters_billed ?? 0), money(row.cost), money(row.cost_upper_bound)]));
  made.dataset.by = "settlements";
  const note = settled.length ? made : el("p", { className: "quiet" }, "No invoice is settled here yet: tts-pipeline reconcile INVOICE --settle does it.");
  return card("wide-card", title, bill.frozen ? el("p", { className: "quiet" }, `Frozen ${moment(bill.frozen.frozen_at)}, ${plural(bill.frozen.rows, "row")}.`) : null, bridge, note);
}

const unitOf = (currency) => currency ?? "without a price";
