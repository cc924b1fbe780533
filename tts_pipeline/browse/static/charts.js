// Draw charts with uPlot, in the page's colours, and redraw each when its size or the colours change.

import { ink } from "./dom.js";

const { uPlot } = window;
const drawn = new Map();
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 2 });
const LABEL_PX = 7;
const DAY = 86_400;
const TIME_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200, ...[1, 2, 7, 14, 28, 56, 112, 364].map((days) => days * DAY)];

/** Amounts over time, confirmed before possible; `running` adds them up. `span` is the time that the axis has. */
export function steps(place, points, step, { running, unit, span }) {
  let confirmed = points.map((one) => one.confirmed);
  let possible = points.map((one) => one.possible);
  if (running) [confirmed, possible] = [confirmed, possible].map(total);
  const at = points.map((one) => one.at);
  const [from, until] = span ?? [at[0] - step, at.at(-1) + (running ? step * 0.5 : step * 1.5)];
  draw(place, () => {
    const paths = running ? uPlot.paths.stepped({ align: 1 }) : uPlot.paths.bars({ size: [0.8, 72], align: 1, radius: 0.1, ...disp(step) });
    const shared = { paths, points: { show: running && points.length < 2 } };
    return {
      data: [at, possible, confirmed],
      options: {
        scales: { x: { time: true, range: [from, until] }, y: { range: (_, __, top) => [0, top * 1.1 || 1] } },
        tzDate: (s) => uPlot.tzDate(new Date(s * 1000), "UTC"),
        axes: [axis({ size: 44, space: 80, incrs: TIME_STEPS, values: times }), axis({ size: 62, ...amounts(unit) })],
        series: [{},
          { ...shared, label: "possible", stroke: running ? ink("--possible-line") : ink("--possible"), fill: ink("--possible") },
          { ...shared, label: "confirmed", stroke: ink("--accent"), fill: running ? ink("--accent-soft") : ink("--accent") }],
        plugins: [tip((chart, place) => [
          new Date(at[place] * 1000).toISOString().slice(0, 19).replace("T", " "),
          `${exact(confirmed[place])} ${unit}`,
          ...(possible[place] > confirmed[place] ? [`at most ${exact(possible[place])} ${unit}`] : []),
        ])],
      },
    };
  });
}

/** Named amounts, one bar under the other. */
export function bars(place, rows, unit) {
  const names = rows.map((row) => row.label);
  const longest = Math.min(190, Math.max(60, ...names.map((name) => name.length * LABEL_PX + 16)));
  place.style.height = `${Math.max(2, rows.length) * 28 + 34}px`;
  draw(place, () => {
    const paths = uPlot.paths.bars({ size: [0.62, 18], radius: 0.2 });
    const series = (name, colour) => ({ label: name, paths, fill: colour, stroke: colour, width: 0, points: { show: false } });
    return {
      data: [names.map((_, at) => at), rows.map((row) => row.possible), rows.map((row) => row.confirmed)],
      options: {
        scales: {
          x: { time: false, ori: 1, dir: -1, range: [-0.5, rows.length - 0.5] },
          y: { ori: 0, dir: 1, range: (_, __, top) => [0, top * 1.08 || 1] },
        },
        axes: [
          axis({ side: 3, size: longest, gap: 8, grid: { show: false }, splits: () => names.map((_, at) => at), values: () => names.map((name) => cut(name, Math.floor((longest - 12) / LABEL_PX))) }),
          axis({ side: 2, size: 30, space: 76, ...amounts(unit) }),
        ],
        series: [{}, series("possible", ink("--possible")), series("confirmed", ink(rows.some((row) => row.bad) ? "--bad" : "--accent"))],
        plugins: [tip((_, at) => [names[at], `${exact(rows[at].confirmed)} ${unit}`,
          ...(rows[at].possible > rows[at].confirmed ? [`at most ${exact(rows[at].possible)} ${unit}`] : [])])],
      },
    };
  });
}

/** A histogram. */
export function columns(place, { start, width, counts, median }, what) {
  const at = counts.map((_, bin) => start + bin * width);
  const digits = Math.max(0, -Math.floor(Math.log10(width)));
  draw(place, () => ({
    data: [at, counts],
    options: {
      scales: { x: { time: false, range: [start - width / 2, at.at(-1) + width * 1.5] }, y: { range: (_, __, top) => [0, top * 1.1 || 1] } },
      axes: [axis({ size: 30, values: (_, values) => values.map((value) => String(Number(value.toFixed(6)))) }), axis({ size: 50, ...amounts("") })],
      series: [{}, { label: what, paths: uPlot.paths.bars({ size: [0.88, 200], align: 1, radius: 0.1, ...disp(width) }), fill: ink("--accent"), stroke: ink("--accent"), width: 0, points: { show: false } }],
      hooks: { draw: [(chart) => mark(chart, median)] },
      plugins: [tip((_, bin) => [`${at[bin].toFixed(digits)} to ${(at[bin] + width).toFixed(digits)} ${what}`, `${counts[bin].toLocaleString("en")} utterances`])],
    },
  }));
}

// By default a bar is as wide as the distance to its neighbours: a single bar would be as wide as the chart.
const disp = (width) => ({ disp: { x0: { unit: 1, values: (chart) => chart.data[0] }, size: { unit: 1, values: (chart, series) => chart.data[series].map(() => width * 0.86) } } });

const total = (values) => {
  let sum = 0;
  return values.map((value) => (sum += value));
};

function draw(place, make) {
  drawn.get(place)?.chart.destroy();
  const { data, options } = make();
  const chart = new uPlot({ ...size(place), legend: { show: false }, cursor: { y: false, points: { show: false }, drag: { x: false, y: false } }, padding: [10, 26, 0, 4], ...options }, data, place);
  const resizing = drawn.get(place)?.resizing ?? new ResizeObserver(() => drawn.get(place).chart.setSize(size(place)));
  resizing.observe(place);
  drawn.set(place, { chart, make, resizing });
}

const size = (place) => ({ width: Math.max(120, place.clientWidth), height: Math.max(80, place.clientHeight) });

const axis = (given = {}) => ({
  stroke: ink("--quiet"), font: "12px system-ui, sans-serif", ticks: { show: false },
  grid: { stroke: ink("--line"), width: 1 }, ...given,
});

/** An axis of money in its unit, or of whole numbers. */
const amounts = (unit) => ({
  ...(unit ? {} : { incrs: Array.from({ length: 13 }, (_, power) => [1, 2, 5].map((step) => step * 10 ** power)).flat() }),
  values: (_, values, __, ___, step) => values.map((value) => (step >= 1 ? short.format(value) : value.toFixed(digitsOf(step)))),
});

/** The digits behind the point that tell the multiples of a step apart: 0.25 has two. */
function digitsOf(step) {
  const digits = Math.ceil(-Math.log10(step) - 1e-9);
  return Math.abs(step * 10 ** digits - Math.round(step * 10 ** digits)) < 1e-6 ? digits : digits + 1;
}

/** Times of the day, with the day where it begins; UTC. */
function times(_, values, __, ___, step) {
  let day = "";
  return values.map((s) => {
    const iso = new Date(s * 1000).toISOString();
    const told = step >= DAY ? "" : iso.slice(11, step >= 60 ? 16 : 19);
    const again = iso.slice(0, 10) === day;
    day = iso.slice(0, 10);
    return again ? told : [told, day].filter(Boolean).join("\n");
  });
}

const exact = (value) => value.toLocaleString("en", { maximumFractionDigits: 6 });
const cut = (text, characters) => (text.length > characters ? `${text.slice(0, characters - 1)}…` : text);

function mark(chart, value) {
  const x = Math.round(chart.valToPos(value, "x", true));
  const { ctx, bbox } = chart;
  ctx.save();
  ctx.strokeStyle = ink("--text");
  ctx.setLineDash([4, 4]);
  ctx.beginPath();
  ctx.moveTo(x, bbox.top);
  ctx.lineTo(x, bbox.top + bbox.height);
  ctx.stroke();
  ctx.restore();
}

/** What is under the pointer, in words. */
function tip(lines) {
  const shown = document.createElement("div");
  shown.className = "tip";
  shown.hidden = true;
  return {
    hooks: {
      init: (chart) => chart.over.append(shown),
      setCursor: (chart) => {
        const { idx, left, top } = chart.cursor;
        shown.hidden = idx === null || idx === undefined || left < 0;
        if (shown.hidden) return;
        shown.replaceChildren(...lines(chart, idx).map((line) => Object.assign(document.createElement("div"), { textContent: line })));
        shown.style.left = `${Math.min(left + 12, Math.max(0, chart.over.clientWidth - shown.offsetWidth))}px`;
        shown.style.top = `${Math.max(0, top - shown.offsetHeight - 8)}px`;
      },
    },
  };
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const [place, { make }] of drawn) {
    if (place.isConnected) draw(place, make);
    else drawn.delete(place);
  }
});
