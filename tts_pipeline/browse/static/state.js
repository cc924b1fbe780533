// The state of the page, kept in its address: a reload, a bookmark or a link shows the same.

export const FILTERS = [
  "q", "status", "voice", "language", "flag", "error_code", "seconds_from", "seconds_to", "cost_from", "cost_to",
];
const NAMES = ["tab", ...FILTERS, "sort", "row", "at", "tag", "by", "month", "timezone"];

export const state = Object.fromEntries(NAMES.map((name) => [name, ""]));

export function readAddress() {
  const given = new URLSearchParams(location.search);
  for (const name of NAMES) state[name] = given.get(name) ?? "";
}

export function change(values) {
  Object.assign(state, values);
  const query = new URLSearchParams(NAMES.filter((name) => state[name]).map((name) => [name, state[name]]));
  history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
}

/** The part of the address that selects rows and their order. */
export function chosenRows() {
  return new URLSearchParams([...FILTERS, "sort"].filter((name) => state[name]).map((name) => [name, state[name]]));
}

export const isFiltered = () => FILTERS.some((name) => state[name]);
