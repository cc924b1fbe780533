// Play and draw a row's audio, and highlight its words as they are spoken.

import { clock, el, ink } from "./dom.js";

const MAX_DRAWN_BYTES = 64_000_000;
const BAR = 3;

export class Player {
  constructor(place, row) {
    this.url = `/api/audio/${place}`;
    this.length = row.duration_ms / 1000;
    this.words = [...(row.timestamps ?? [])].sort((a, b) => a.start_ms - b.start_ms);
    this.audio = new Audio(this.url);
    this.audio.preload = "metadata";
    this.lit = -1;
    this.stopping = new AbortController();
    this.button = el("button", { className: "play", type: "button", "aria-label": "Play", onclick: () => this.toggle() });
    this.canvas = el("canvas", {
      className: "wave", role: "slider", tabIndex: 0, "aria-label": "Place in the audio",
      "aria-valuemin": 0, "aria-valuemax": this.length.toFixed(1),
    });
    this.time = el("span", { className: "time" });
    this.rate = el("select", { "aria-label": "Speed", onchange: () => { this.audio.playbackRate = Number(this.rate.value); } },
      ["0.5", "0.75", "1", "1.25", "1.5", "2"].map((rate) => el("option", { value: rate, selected: rate === "1" }, `${rate}×`)));
    this.problem = el("p", { className: "trouble", hidden: true, role: "alert" });
    this.text = el("p", { className: "spoken", lang: row.language }, this.#spoken(row.text));
    this.element = el("div", { className: "player" },
      this.canvas,
      el("div", { className: "controls" }, this.button, this.time, this.rate),
      this.problem, this.text);
    this.#listen();
    this.#draw();
    this.#decode();
  }

  toggle() {
    if (this.audio.paused) this.audio.play().catch((error) => this.#trouble(error));
    else this.audio.pause();
  }

  seek(to) {
    this.audio.currentTime = Math.min(Math.max(to, 0), this.length);
    this.#draw();
  }

  skip(by) {
    this.seek(this.audio.currentTime + by);
  }

  /** Go to the next or the previous word. */
  step(by) {
    if (!this.words.length) return;
    const now = this.audio.currentTime * 1000 + 1;
    const at = this.words.findLastIndex((word) => word.start_ms <= now);
    const to = Math.min(Math.max(at + by, 0), this.words.length - 1);
    this.seek(this.words[to].start_ms / 1000 + 0.001);
  }

  close() {
    this.stopping.abort();
    this.resizing.disconnect();
    cancelAnimationFrame(this.frame);
    this.audio.pause();
    this.audio.removeAttribute("src");
    this.audio.load();
  }

  #listen() {
    const signal = this.stopping.signal;
    const on = (event, handler) => this.audio.addEventListener(event, handler, { signal });
    for (const event of ["play", "pause", "ended"]) on(event, () => this.#turned());
    on("seeked", () => this.#draw());
    on("loadedmetadata", () => {
      if (Number.isFinite(this.audio.duration)) this.length = this.audio.duration;
      this.#draw();
    });
    on("error", () => { if (this.audio.error) this.#trouble(this.audio.error); });
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      this.#point(event);
    });
    this.canvas.addEventListener("pointermove", (event) => { if (event.buttons) this.#point(event); });
    this.text.addEventListener("click", (event) => {
      const at = event.target.dataset.word;
      if (at !== undefined && getSelection().isCollapsed) this.seek(this.words[at].start_ms / 1000 + 0.001);
    });
    this.resizing = new ResizeObserver(() => this.#draw());
    this.resizing.observe(this.canvas);
  }

  #point(event) {
    this.seek((event.offsetX / this.canvas.clientWidth) * this.length);
  }

  #trouble(error) {
    if (error.name === "AbortError") return;
    this.problem.textContent = `This browser cannot play it: ${error.message}`;
    this.problem.hidden = false;
  }

  #turned() {
    this.button.setAttribute("aria-label", this.audio.paused ? "Play" : "Pause");
    this.button.classList.toggle("playing", !this.audio.paused);
    cancelAnimationFrame(this.frame);
    this.#draw();
    if (!this.audio.paused) this.#follow();
  }

  #follow() {
    this.frame = requestAnimationFrame(() => {
      this.#draw();
      if (!this.audio.paused) this.#follow();
    });
  }

  /** The text, with an element for each timed word; positions are in code points. */
  #spoken(text) {
    const points = Array.from(text);
    this.marks = new Array(this.words.length);
    const pieces = [];
    let done = 0;
    const placed = this.words.map((word, at) => ({ ...word, at })).filter((word) => word.text_start !== null);
    for (const { at, text_start: start, text_end: end } of placed.sort((a, b) => a.text_start - b.text_start)) {
      if (start < done || end > points.length || end <= start) continue;
      if (start > done) pieces.push(points.slice(done, start).join(""));
      this.marks[at] = el("span", { className: "word", data: { word: at } }, points.slice(start, end).join(""));
      pieces.push(this.marks[at]);
      done = end;
    }
    pieces.push(points.slice(done).join(""));
    return pieces;
  }

  #light(now) {
    const at = this.words.findLastIndex((word) => word.start_ms <= now);
    const lit = at >= 0 && now < this.words[at].end_ms ? at : -1;
    if (lit === this.lit) return;
    this.marks[this.lit]?.classList.remove("lit");
    this.marks[lit]?.classList.add("lit");
    this.lit = lit;
  }

  async #decode() {
    try {
      const response = await fetch(this.url, { signal: this.stopping.signal });
      const data = await response.arrayBuffer();
      if (!response.ok || data.byteLength > MAX_DRAWN_BYTES) return;
      // An offline context decodes without permission to play; a low rate is enough for a picture.
      const decoded = await new OfflineAudioContext(1, 1, 8_000).decodeAudioData(data);
      this.samples = decoded.getChannelData(0);
      this.canvas.dataset.samples = this.samples.length;
      this.#draw();
    } catch (error) {
      this.#trouble(error);
    }
  }

  #peaks(bars) {
    if (this.peaks?.length === bars || !this.samples) return this.peaks;
    const per = this.samples.length / bars;
    this.peaks = Float32Array.from({ length: bars }, (_, bar) => {
      let peak = 0;
      for (let at = Math.floor(bar * per); at < (bar + 1) * per; at += 1) peak = Math.max(peak, Math.abs(this.samples[at]));
      return peak;
    });
    const loudest = Math.max(0.05, ...this.peaks);
    this.peaks = this.peaks.map((peak) => peak / loudest);
    return this.peaks;
  }

  #draw() {
    const now = this.audio.currentTime;
    this.#light(this.audio.paused && now === 0 ? -1 : now * 1000);
    this.time.textContent = `${clock(now)} / ${clock(this.length)}`;
    this.canvas.setAttribute("aria-valuenow", now.toFixed(1));
    this.canvas.setAttribute("aria-valuetext", this.time.textContent);
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width) return;
    const sharp = devicePixelRatio || 1;
    if (this.canvas.width !== Math.round(width * sharp)) {
      this.canvas.width = Math.round(width * sharp);
      this.canvas.height = Math.round(height * sharp);
    }
    const paint = this.canvas.getContext("2d");
    const [played, coming, lit] = ["--accent", "--wave", "--lit"].map(ink);
    paint.setTransform(sharp, 0, 0, sharp, 0, 0);
    paint.clearRect(0, 0, width, height);
    const at = (s) => (s / this.length) * width;
    const word = this.words[this.lit];
    if (word) {
      paint.fillStyle = lit;
      paint.fillRect(at(word.start_ms / 1000), 0, Math.max(2, at((word.end_ms - word.start_ms) / 1000)), height);
    }
    const bars = Math.floor(width / BAR);
    const peaks = this.#peaks(bars);
    for (let bar = 0; bar < bars; bar += 1) {
      const tall = Math.max(2, (peaks?.[bar] ?? 0) * (height - 12));
      paint.fillStyle = bar * BAR < at(now) ? played : coming;
      paint.beginPath();
      paint.roundRect(bar * BAR, (height - tall) / 2, BAR - 1, tall, 1);
      paint.fill();
    }
    paint.fillStyle = played;
    paint.fillRect(Math.min(at(now), width - 1.5), 0, 1.5, height);
  }
}
