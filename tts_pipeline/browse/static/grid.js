// The table of rows: only visible rows have elements, and rows are requested page by page.

import { ask, count, el, money, seconds } from "./dom.js";
import { chosenRows } from "./state.js";

const PAGE = 100;
const KEPT_PAGES = 40;
const OVERSCAN = 4;
// Browsers limit an element to 17 (Firefox) to 33 million pixels: above this, scrolling is scaled to the rows.
const MAX_HEIGHT = 8_000_000;

const COLUMNS = [
  { name: "text", title: "Text" },
  { name: "voice", title: "Voice" },
  { name: "language", title: "Language" },
  { name: "duration_ms", title: "Seconds", number: true },
  { name: "characters", title: "Characters", number: true },
  { name: "cost", title: "Cost", number: true },
  { name: "flags", title: "Flags" },
];

export class Grid {
  /** `handlers`: chosen(row, index), sorted(order), counted(total), failed(error). */
  constructor(root, handlers) {
    this.root = root;
    this.handlers = handlers;
    this.total = 0;
    this.active = -1;
    this.pages = new Map();
    this.shown = new Map();
    this.heads = COLUMNS.map((column) => this.#head(column));
    this.body = el("div", { className: "grid-body", role: "rowgroup" });
    root.append(el("div", { className: "grid-row grid-head", role: "row", "aria-rowindex": 1 }, this.heads), this.body);
    root.setAttribute("aria-colcount", COLUMNS.length);
    root.addEventListener("scroll", () => this.#draw(), { passive: true });
    this.body.addEventListener("click", (event) => {
      const line = event.target.closest(".grid-row");
      if (line) this.choose(Number(line.dataset.index));
    });
    new ResizeObserver(() => {
      this.#measure();
      if (this.active >= 0) this.#scrollTo(this.active);
    }).observe(root);
  }

  /** Show the rows that the state selects, from a given row on. */
  async show(sort, at = 0) {
    this.aborting?.abort();
    this.aborting = new AbortController();
    const { signal } = this.aborting;
    this.query = chosenRows();
    this.pages.clear();
    this.active = -1;
    for (const [place, head] of this.heads.entries()) {
      const { name } = COLUMNS[place];
      const order = sort === name ? "ascending" : sort === `-${name}` ? "descending" : "none";
      head.setAttribute("aria-sort", order);
    }
    this.root.setAttribute("aria-busy", "true");
    const first = Math.max(0, Math.floor(at / PAGE));
    const page = await this.#page(first, signal);
    if (!page) {
      if (!signal.aborted) this.root.removeAttribute("aria-busy");
      return;
    }
    this.total = page.total ?? PAGE;
    for (const line of this.shown.values()) line.remove();
    this.shown.clear();
    this.#measure();
    this.#scrollTo(at, true);
    this.#draw();
    this.root.removeAttribute("aria-busy");
    this.counted(page.total);
  }

  /** Set the number of rows, which may be known only after the first page. */
  counted(total) {
    if (total === null) return;
    this.total = total;
    this.root.setAttribute("aria-rowcount", total + 1);
    this.#measure();
    this.handlers.counted(total);
  }

  /** Mark a row as the chosen row and scroll to it; -1 is none. */
  mark(index) {
    this.active = Math.min(index, this.total - 1);
    if (this.active >= 0) this.#scrollTo(this.active);
    this.#draw();
  }

  /** Choose a row. */
  async choose(index) {
    if (!this.total || !this.aborting) return;
    this.mark(Math.max(index, 0));
    const wanted = this.active;
    const page = await this.#page(Math.floor(wanted / PAGE), this.aborting.signal);
    const row = page?.rows[wanted % PAGE]; // undefined if the rows were filtered just before the click
    if (row && this.active === wanted) this.handlers.chosen(row, wanted);
  }

  move(by) {
    return this.choose(this.active < 0 ? Math.max(0, Math.ceil(this.#first())) : this.active + by);
  }

  get fit() {
    return Math.max(1, Math.floor((this.root.clientHeight - this.headHeight) / this.rowHeight));
  }

  #head({ name, title, number }) {
    const sort = () => {
      const now = head.getAttribute("aria-sort");
      this.handlers.sorted(now === "none" ? name : now === "ascending" ? `-${name}` : "");
    };
    const button = el("button", { type: "button", onclick: sort }, title);
    const className = `cell ${name}${number ? " number" : ""}`;
    const head = el("div", { className, role: "columnheader", "aria-sort": "none" }, button);
    return head;
  }

  async #page(number, signal) {
    if (!this.pages.has(number)) {
      const query = new URLSearchParams(this.query);
      query.set("offset", number * PAGE);
      query.set("limit", PAGE);
      const asked = ask(`/api/rows?${query}`, signal).catch((error) => {
        if (error.name !== "AbortError") this.handlers.failed(error);
        this.pages.delete(number);
        return null;
      });
      this.pages.set(number, asked);
      asked.then((page) => {
        if (!page || signal.aborted) return;
        asked.rows = page.rows;
        this.#draw();
      });
      while (this.pages.size > KEPT_PAGES) this.pages.delete(this.pages.keys().next().value);
    }
    return this.pages.get(number);
  }

  #measure() {
    const style = getComputedStyle(this.root);
    this.rowHeight = parseFloat(style.getPropertyValue("--row")) || 52;
    this.headHeight = this.root.firstElementChild.offsetHeight;
    this.body.style.height = `${Math.min(this.total * this.rowHeight, MAX_HEIGHT)}px`;
    this.#draw();
  }

  get #scaled() {
    return this.total * this.rowHeight > MAX_HEIGHT;
  }

  get #way() {
    return Math.max(1, this.body.offsetHeight + this.headHeight - this.root.clientHeight);
  }

  get #seen() {
    return (this.root.clientHeight - this.headHeight) / this.rowHeight;
  }

  /** The first visible row, as a fraction: the part after the point is scrolled out of sight. */
  #first() {
    if (!this.#scaled) return this.root.scrollTop / this.rowHeight;
    return Math.min(1, this.root.scrollTop / this.#way) * (this.total - this.#seen);
  }

  #scrollTo(index, top = false) {
    const first = this.#first();
    if (!top && index >= first && index + 1 <= first + this.#seen) return;
    const wanted = top || index < first ? index : index + 1 - this.#seen;
    this.root.scrollTop = this.#scaled ? (wanted / (this.total - this.#seen)) * this.#way : wanted * this.rowHeight;
  }

  #draw() {
    if (!this.rowHeight || !this.aborting) return; // no rows are requested yet, for example while the bill is shown
    const first = this.#first();
    const from = Math.max(0, Math.floor(first) - OVERSCAN);
    const until = Math.min(this.total, Math.ceil(first + this.#seen) + OVERSCAN);
    for (const [index, line] of this.shown) {
      if (index < from || index >= until) {
        line.remove();
        this.shown.delete(index);
      }
    }
    for (let index = from; index < until; index += 1) {
      const line = this.#line(index);
      line.style.transform = `translateY(${this.root.scrollTop + (index - first) * this.rowHeight}px)`;
      line.setAttribute("aria-selected", index === this.active);
    }
    if (this.shown.has(this.active)) this.root.setAttribute("aria-activedescendant", `row-${this.active}`);
    else this.root.removeAttribute("aria-activedescendant");
  }

  #line(index) {
    const known = this.shown.get(index);
    if (known && !known.classList.contains("waiting")) return known;
    const number = Math.floor(index / PAGE);
    const row = this.pages.get(number)?.rows?.[index % PAGE];
    if (known && !row) return known;
    known?.remove();
    const line = row ? filled(row, index) : waiting(index);
    if (!row && !this.pages.has(number)) this.#page(number, this.aborting.signal);
    this.shown.set(index, line);
    this.body.append(line);
    return line;
  }
}

function waiting(index) {
  return el("div", { className: "grid-row waiting", role: "row", "aria-rowindex": index + 2, data: { index } },
    el("div", { className: "cell text", role: "gridcell" }, el("span", { className: "words" }, "…")));
}

function filled(row, index) {
  const rejected = row.table === "rejects";
  const cells = [
    [el("span", { className: "words", lang: row.language }, row.text ?? ""), el("span", { className: "id" }, row.utterance_id)],
    row.voice ?? "–",
    row.language ?? "–",
    seconds(row.duration_ms),
    row.characters_billed === null ? "–" : count(row.characters_billed),
    money(row.cost, 5),
    rejected ? el("span", { className: "chip bad", title: row.message }, row.error_code)
      : row.quality.map((flag) => el("span", { className: "chip" }, flag)),
  ].map((content, place) => {
    const { name, number } = COLUMNS[place];
    return el("div", { className: `cell ${name}${number ? " number" : ""}`, role: "gridcell" }, content);
  });
  const className = `grid-row${rejected ? " rejected" : ""}`;
  return el("div", { className, role: "row", id: `row-${index}`, "aria-rowindex": index + 2, data: { index } }, cells);
}
