// The page: the rows on one tab, the bill on the other, and the state of both in the address.

import { $, ask, count, el, plural, span } from "./dom.js";
import { Grid } from "./grid.js";
import { follow, KEYS, LABELS } from "./keys.js";
import { Panel } from "./panel.js";
import { change, FILTERS, isFiltered, readAddress, state } from "./state.js";

const TYPING_MS = 180;
const form = $("filters");
let known = null;

readAddress();
const panel = new Panel($("panel"), close);
const grid = new Grid($("grid"), {
  chosen(row, at) {
    const place = `${row.table}/${row.part}/${row.number}`;
    change({ row: place, at: String(at) });
    document.body.classList.add("reading");
    panel.show(place);
  },
  sorted(sort) {
    change({ sort, at: "" });
    grid.show(sort);
  },
  counted(total) {
    trouble("");
    const found = isFiltered() && known ? `${count(total)} of ` : "";
    $("count").textContent = found + plural(found ? known.speech + known.rejects : total, "row");
  },
  failed: (error) => trouble(error.message),
});

function trouble(message) {
  $("trouble").textContent = message;
  $("trouble").hidden = !message;
}

function close() {
  panel.close();
  document.body.classList.remove("reading");
  change({ row: "", at: "" });
  grid.mark(-1);
  $("grid").focus();
}

function filtered() {
  const values = Object.fromEntries(FILTERS.map((name) => [name, form.elements[name].validity.valid ? form.elements[name].value.trim() : ""]));
  change({ ...values, at: "" });
  marked();
  grid.show(state.sort);
}

function marked() {
  for (const name of FILTERS) form.elements[name].classList.toggle("used", Boolean(state[name]));
  $("clear").hidden = !isFiltered();
  const more = form.querySelector(".more");
  more.firstElementChild.classList.toggle("used", Boolean(more.querySelector("div .used")));
}

function filterForm() {
  let typing = 0;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => {
    clearTimeout(typing);
    typing = setTimeout(filtered, event.target.matches("select") ? 0 : TYPING_MS);
  });
  form.addEventListener("reset", () => setTimeout(filtered));
  for (const name of FILTERS) {
    const field = form.elements[name];
    // The value in the address may not be among the choices yet.
    if (field.matches("select") && state[name] && ![...field.options].some((one) => one.value === state[name])) {
      field.append(el("option", { value: state[name] }, state[name]));
    }
    field.value = state[name];
  }
  marked();
}

function choices(name, values, more = []) {
  const field = form.elements[name];
  const told = values.map(([value, number]) => [value ?? "-", `${value ?? "left to the service"} (${count(number)})`]);
  const options = [...more, ...told].map(([value, label]) => el("option", { value }, label));
  field.replaceChildren(field.options[0], ...options);
  field.value = state[name];
  field.closest("label").hidden = !values.length;
}

async function dataset() {
  known = await ask("/api/dataset");
  const name = known.root.replace(/\/+$/, "").split("/").pop();
  document.title = `${name} · tts-pipeline`;
  $("name").textContent = name;
  $("name").title = known.root;
  const left = known.rows - known.speech - known.rejects;
  const said = [
    `${known.model} on ${known.service}`, plural(known.speech, "utterance"), span(known.duration_ms),
    ...(known.rejects ? [plural(known.rejects, "reject")] : []), ...(left > 0 ? [`${count(left)} not done`] : []),
  ];
  $("about").textContent = said.join(" · ");
  choices("voice", known.values.voice);
  choices("language", known.values.language);
  choices("flag", known.values.flag, [["*", "With a flag"], ["-", "Without flags"]]);
  choices("error_code", known.values.error_code);
  // The rows and the count are requested at the same time; neither waits for the other.
  if (!isFiltered()) grid.counted(known.speech + known.rejects);
  else if ($("count").textContent) grid.counted(grid.total);
}

async function turn(tab) {
  change({ tab: tab === "listen" ? "" : tab });
  for (const one of document.querySelectorAll("[role=tab]")) {
    const chosen = one.dataset.tab === tab;
    one.setAttribute("aria-selected", chosen);
    one.tabIndex = chosen ? 0 : -1;
    $(one.dataset.tab).hidden = !chosen;
  }
  if (tab === "bill") {
    panel.player?.audio.pause();
    const { showBill } = await import("./bill.js");
    showBill($("bill"));
  } else if (!grid.query) {
    await grid.show(state.sort, Number(state.at) || 0);
    performance.mark("rows-shown");
  }
}

function help() {
  $("keys").replaceChildren(...KEYS.flatMap(([keys, what]) => [
    el("dt", {}, keys.map((key) => el("kbd", {}, LABELS[key] ?? key))), el("dd", {}, what)]));
  $("help").showModal();
}

function search() {
  form.elements.q.focus();
  form.elements.q.select();
}

function tabs() {
  const all = [...document.querySelectorAll("[role=tab]")];
  for (const [place, one] of all.entries()) {
    one.addEventListener("click", () => turn(one.dataset.tab));
    one.addEventListener("keydown", (event) => {
      if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
      const next = all[(place + 1) % all.length];
      next.focus();
      turn(next.dataset.tab);
      event.stopPropagation();
    });
  }
}

filterForm();
tabs();
$("help-open").addEventListener("click", help);
follow({ grid, panel, search, close, turn, help, listening: () => !$("listen").hidden });
turn(state.tab === "bill" ? "bill" : "listen").then(() => {
  if (!state.row) return;
  document.body.classList.add("reading");
  panel.show(state.row);
  if (state.at) grid.mark(Number(state.at));
});
dataset().catch((error) => trouble(error.message));
