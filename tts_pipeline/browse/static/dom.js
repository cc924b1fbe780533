// Make elements and format values. A text stays text: no code of the page inserts markup.

export const $ = (id) => document.getElementById(id);

/** Make an element: names with a dash or that begin with "role" are attributes, all others properties. */
export function el(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined) continue;
    if (name === "data") Object.assign(made.dataset, value);
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name.includes("-") || name === "role") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

const whole = new Intl.NumberFormat("en");
export const count = (number) => whole.format(number);
export const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

export const seconds = (ms) => (ms === null ? "–" : (ms / 1000).toFixed(ms < 100_000 ? 2 : 1));

/** 4.301 -> 0:04.3 */
export function clock(s) {
  if (!Number.isFinite(s)) return "–:––";
  const tenths = Math.floor(s * 10 + 1e-6);
  return `${Math.floor(tenths / 600)}:${String(Math.floor(tenths / 10) % 60).padStart(2, "0")}.${tenths % 10}`;
}

export function span(ms) {
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  return ms < 3_600_000 ? `${(ms / 60_000).toFixed(1)} min` : `${(ms / 3_600_000).toFixed(1)} h`;
}

/** Format money, an exact decimal text, without trailing zeros. */
export function money(text, digits = 2) {
  if (text === null) return "–";
  const [units, fraction = ""] = text.replace("-", "").split(".");
  return `${text.startsWith("-") ? "−" : ""}${whole.format(BigInt(units))}.${fraction.replace(/0+$/, "").padEnd(digits, "0")}`;
}

export const moment = (iso) => iso.replace("T", " ").replace(/(?:(\.\d{3})\d*)?(\+00:00|Z)$/, "$1 UTC");

const probe = el("i", { hidden: true });

/** Return a colour of the style sheet for a canvas, in the current colour scheme. */
export function ink(name) {
  if (!probe.isConnected) document.body.append(probe);
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}

/** Request a path of the server; throw an error with the answer's message if it fails. */
export async function ask(path, signal) {
  const response = await fetch(path, { signal });
  const type = response.headers.get("Content-Type") ?? "";
  const said = type.includes("json") ? await response.json() : { error: (await response.text()).trim() };
  if (!response.ok) throw new Error(said.error || `the server answered ${response.status}`);
  return said;
}
