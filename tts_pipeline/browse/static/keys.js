// The keyboard: each key once, with what it does, for the hands and for the help.

export const KEYS = [
  [["j", "ArrowDown"], "next row", ({ grid }) => grid.move(1)],
  [["k", "ArrowUp"], "row before", ({ grid }) => grid.move(-1)],
  [["PageDown"], "a page on", ({ grid }) => grid.move(grid.fit)],
  [["PageUp"], "a page back", ({ grid }) => grid.move(-grid.fit)],
  [["g", "Home"], "first row", ({ grid }) => grid.choose(0)],
  [["G", "End"], "last row", ({ grid }) => grid.choose(grid.total - 1)],
  [[" ", "Enter"], "play, pause", ({ panel }) => panel.player?.toggle()],
  [["ArrowRight"], "a second on", ({ panel }) => panel.player?.skip(1)],
  [["ArrowLeft"], "a second back", ({ panel }) => panel.player?.skip(-1)],
  [["]"], "next word", ({ panel }) => panel.player?.step(1)],
  [["["], "word before", ({ panel }) => panel.player?.step(-1)],
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

/** Follow keys, but those of somebody who writes, or who presses a button. */
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
