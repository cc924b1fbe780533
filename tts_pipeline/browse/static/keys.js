// The keyboard shortcuts: each key with its action, and its description in the help.

export const KEYS = [
  [["j", "ArrowDown"], "next row", ({ grid }) => grid.move(1)],
  [["k", "ArrowUp"], "previous row", ({ grid }) => grid.move(-1)],
  [["PageDown"], "a page forward", ({ grid }) => grid.move(grid.fit)],
  [["PageUp"], "a page back", ({ grid }) => grid.move(-grid.fit)],
  [["g", "Home"], "first row", ({ grid }) => grid.choose(0)],
  [["G", "End"], "last row", ({ grid }) => grid.choose(grid.total - 1)],
  [[" ", "Enter"], "play, pause", ({ panel }) => panel.player?.toggle()],
  [["ArrowRight"], "a second forward", ({ panel }) => panel.player?.skip(1)],
  [["ArrowLeft"], "a second back", ({ panel }) => panel.player?.skip(-1)],
  [["]"], "next word", ({ panel }) => panel.player?.step(1)],
  [["["], "previous word", ({ panel }) => panel.player?.step(-1)],
  [["/"], "search", ({ search }) => search()],
  [["Escape"], "close the row", ({ close }) => close()],
  [["1"], "listen", ({ turn }) => turn("listen")],
  [["2"], "bill", ({ turn }) => turn("bill")],
  [["?"], "this help", ({ help }) => help()],
];

export const LABELS = {
  ArrowDown: "↓", ArrowUp: "↑", ArrowRight: "→", ArrowLeft: "←", " ": "Space", PageDown: "PgDn", PageUp: "PgUp", Escape: "Esc",
};

const ANYWHERE = ["1", "2", "?"];

/** Run the action of each key, but not while the user types in a field or presses a button. */
export function follow(page) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.matches("input, select, textarea")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (event.target.matches("button, summary, a") && [" ", "Enter"].includes(event.key)) return;
    if (!page.listening() && !ANYWHERE.includes(event.key)) return;
    const found = KEYS.find(([keys]) => keys.includes(event.key));
    if (!found) return;
    event.preventDefault();
    found[2](page);
  });
}
