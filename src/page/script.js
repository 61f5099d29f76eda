// Draws each chart again for the width that it has, and lets it be zoomed and read off: drag to zoom, double-click or Escape
// to see all, arrow keys to go from point to point. Without this script the charts stay as they are.
"use strict";
(() => {
  const TOP = 22, RIGHT = 14, BOTTOM = 38;

  function make(parent, tag, attributes, text) {
    const node = document.createElementNS(parent.namespaceURI, tag);
    for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    parent.append(node);
    return node;
  }

  function shown(v) {
    if (v === null || v === undefined) return "none";
    if (Number.isInteger(v) && Math.abs(v) < 1e9) return String(v);
    const size = Math.abs(v);
    return size < 1e-3 || size >= 1e6 ? v.toExponential(2) : String(Number(v.toPrecision(4)));
  }

  function ticks(low, high, log, most) {
    if (log) {
      const steps = high - low > 1.5 ? [1] : [1, 2, 5], all = [];
      for (let p = Math.floor(low); p <= Math.ceil(high); p++)
        for (const s of steps) {
          const at = Math.log10(s) + p;
          if (at >= low - 1e-9 && at <= high + 1e-9) all.push([at, shown(Number((s * 10 ** p).toPrecision(3)))]);
        }
      if (all.length > 1) return all;
      // Of less than a step of these: round numbers as on any axis.
      const near = ticks(10 ** low, 10 ** high, false, most).filter(([v]) => v > 0);
      return near.map(([v, label]) => [Math.log10(v), label]);
    }
    const power = 10 ** Math.floor(Math.log10((high - low) / most));
    const step = [1, 2, 5, 10].map(s => s * power).find(s => (high - low) / s <= most);
    const places = Math.max(0, -Math.floor(Math.log10(step) + 1e-9)), all = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) {
      const v = k * step;
      all.push([v, v !== 0 && (step < 1e-4 || Math.abs(v) >= 1e7) ? v.toExponential(1) : v.toFixed(Math.min(places, 9))]);
    }
    return all;
  }

  class Plot {
    constructor(figure) {
      this.data = JSON.parse(figure.querySelector("script").textContent);
      this.frame = figure.querySelector(".frame");
      this.svg = this.frame.querySelector("svg");
      this.log = this.data.log && this.positive();
      this.window = null;
      this.tip = document.createElement("div");
      this.tip.className = "tip";
      this.tip.hidden = true;
      this.frame.append(this.tip);
      if (this.log) this.addButton(figure.querySelector("figcaption"));
      this.svg.setAttribute("tabindex", "0");
      this.listen();
      this.width = 0;
      new ResizeObserver(() => this.fit()).observe(this.frame);
      this.fit();
    }

    positive() {
      return this.data.series.every(s => s.y.every(y => y === null || y > 0)) && this.data.series.some(s => s.y.length);
    }

    addButton(caption) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "log";
      button.title = "powers of ten";
      const show = () => button.setAttribute("aria-pressed", String(this.log));
      button.addEventListener("click", () => { this.log = !this.log; show(); this.draw(); });
      show();
      caption.append(button);
    }

    fit() {
      const width = Math.round(this.frame.clientWidth);
      if (width > 0 && width !== this.width) { this.width = width; this.draw(); }
    }

    // The numbers from one end of x to the other, and of y over what is seen of x.
    spans() {
      let [left, right] = this.window || [Infinity, -Infinity];
      if (!this.window) for (const s of this.data.series) for (const x of s.x) {
        if (x !== null) { left = Math.min(left, x); right = Math.max(right, x); }
      }
      let low = Infinity, high = -Infinity;
      if (this.data.range && !this.window && !this.log) [low, high] = this.data.range;
      for (const s of this.data.series) s.y.forEach((y, k) => {
        if (y === null || s.x[k] < left || s.x[k] > right) return;
        const v = this.log ? Math.log10(y) : y;
        low = Math.min(low, v); high = Math.max(high, v);
      });
      if (!(left < right)) { left -= .5; right = left + 1; }
      if (!(low <= high)) { low = 0; high = 1; }
      if (low === high) { low -= .5; high += .5; }
      return { left, right, low, high };
    }

    draw() {
      const svg = this.svg, width = this.width, height = Math.round(Math.min(260, Math.max(190, width * .5)));
      const { left, right, low, high } = this.spans();
      const numbers = ticks(low, high, this.log, 5);
      const room = 14 + 6.6 * Math.max(...numbers.map(t => t[1].length), 2);
      this.room = room;
      this.across = x => room + (width - room - RIGHT) * (x - left) / (right - left);
      this.down = y => height - BOTTOM - (height - TOP - BOTTOM) * ((this.log ? Math.log10(y) : y) - low) / (high - low);
      this.back = px => left + (right - left) * (px - room) / (width - room - RIGHT);
      this.height = height;
      svg.replaceChildren();
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      const edge = width - RIGHT, floor = height - BOTTOM;
      this.bands(left, right, edge, floor);
      for (const [v, label] of numbers) {
        const y = height - BOTTOM - (height - TOP - BOTTOM) * (v - low) / (high - low);
        make(svg, "path", { class: "grid", d: `M${room} ${y}H${edge}` });
        make(svg, "text", { class: "tick", x: room - 6, y: y + 4, "text-anchor": "end" }, label);
      }
      for (const [v, label] of ticks(left, right, false, Math.max(2, width / 90))) {
        make(svg, "path", { class: "axis", d: `M${this.across(v)} ${floor}v4` });
        make(svg, "text", { class: "tick", x: this.across(v), y: floor + 17, "text-anchor": "middle" }, label);
      }
      make(svg, "path", { class: "axis", d: `M${room} ${floor}H${edge}` });
      make(svg, "text", { class: "tick", x: edge, y: height - 4, "text-anchor": "end" }, this.data.x);
      this.lines(room, edge, floor);
      this.marks = make(svg, "g");
    }

    bands(left, right, edge, floor) {
      let free = -Infinity;
      this.data.bands.forEach(([from, name], k) => {
        const next = this.data.bands[k + 1];
        const a = Math.max(from, left), b = Math.min(next ? next[0] : right, right);
        if (a >= b && !(a === b && b === right)) return;
        const x = this.across(a), end = next && next[0] < right ? this.across(next[0]) : edge;
        make(this.svg, "rect", { class: `band b${k % 2}`, x, y: TOP, width: Math.max(0, end - x), height: floor - TOP });
        if (x + 2 < free || x + 6 * name.length > this.width) return;
        make(this.svg, "text", { class: "tick", x: x + 3, y: TOP - 7 }, name);
        free = x + 6.4 * name.length;
      });
    }

    lines(room, edge, floor) {
      // What lies outside of the window is cut off.
      const id = `${this.svg.closest("figure").id}-cut`;
      const cut = make(make(this.svg, "defs"), "clipPath", { id });
      make(cut, "rect", { x: room - 1, y: TOP - 3, width: edge - room + 2, height: floor - TOP + 6 });
      const group = make(this.svg, "g", { "clip-path": `url(#${id})` });
      for (const s of this.data.series) {
        let d = "", begins = true;
        s.y.forEach((y, k) => {
          if (y === null) { begins = true; return; }
          d += `${begins ? "M" : "L"}${this.across(s.x[k]).toFixed(1)} ${this.down(y).toFixed(1)}`;
          begins = false;
        });
        make(group, "path", { class: `line c${s.c} d${s.d}`, d });
        if (s.y.length === 1 && s.y[0] !== null)
          make(group, "circle", { class: `point c${s.c}`, cx: this.across(s.x[0]), cy: this.down(s.y[0]), r: 3 });
      }
    }

    // What the curves are nearest to x.
    read(x) {
      let best = null;
      for (const s of this.data.series) s.x.forEach((at, k) => {
        if (s.y[k] !== null && (best === null || Math.abs(at - x) < Math.abs(best - x))) best = at;
      });
      if (best === null) return;
      this.at = best;
      this.marks.replaceChildren();
      const px = this.across(best);
      make(this.marks, "path", { class: "cursor", d: `M${px} ${TOP}V${this.height - BOTTOM}` });
      this.tip.replaceChildren();
      const head = document.createElement("div");
      const band = this.data.bands.filter(b => b[0] <= best).pop();
      head.textContent = `${this.data.x} ${shown(best)}${band ? ", " + band[1] : ""}`;
      this.tip.append(head);
      for (const s of this.data.series) {
        let near = -1;
        s.x.forEach((at, k) => {
          if (s.y[k] !== null && (near < 0 || Math.abs(at - best) <= Math.abs(s.x[near] - best))) near = k;
        });
        if (near < 0 || best < s.x[0] || best > s.x[s.x.length - 1]) continue;
        make(this.marks, "circle", { class: `point c${s.c}`, cx: this.across(s.x[near]), cy: this.down(s.y[near]), r: 3.2 });
        this.say(s, near, best);
      }
      this.tip.hidden = false;
      const wide = this.tip.offsetWidth;
      this.tip.style.left = `${Math.max(0, px + 12 + wide > this.width ? px - 12 - wide : px + 12)}px`;
    }

    say(s, near, best) {
      const row = document.createElement("div"), name = document.createElement("span"), value = document.createElement("b");
      const colour = document.createElement("i");
      row.className = `c${s.c}`;
      name.append(colour, s.name);
      value.textContent = shown(s.y[near]) + (s.x[near] === best ? "" : ` (at ${shown(s.x[near])})`);
      row.append(name, value);
      this.tip.append(row);
    }

    leave() {
      this.tip.hidden = true;
      this.marks.replaceChildren();
    }

    zoom(window) {
      this.window = window;
      this.leave();
      this.draw();
    }

    // Where a pointer is, in the picture's own measure.
    place(event) {
      const box = this.svg.getBoundingClientRect();
      const px = (event.clientX - box.left) * this.width / box.width;
      return Math.min(this.width - RIGHT, Math.max(this.room, px));
    }

    listen() {
      let from = null;
      this.svg.addEventListener("pointerdown", event => {
        if (event.button !== 0) return;
        from = this.place(event);
        this.svg.setPointerCapture(event.pointerId);
      });
      this.svg.addEventListener("pointermove", event => {
        const px = this.place(event);
        this.read(this.back(px));
        if (from === null || Math.abs(px - from) < 4) return;
        make(this.marks, "rect", {
          class: "chosen", x: Math.min(px, from), y: TOP, width: Math.abs(px - from), height: this.height - TOP - BOTTOM,
        });
      });
      this.svg.addEventListener("pointerup", event => {
        const px = this.place(event), start = from;
        from = null;
        if (start !== null && Math.abs(px - start) > 8) this.zoom([start, px].sort((a, b) => a - b).map(this.back));
      });
      this.svg.addEventListener("pointercancel", () => { from = null; this.leave(); });
      this.svg.addEventListener("pointerleave", () => { if (from === null) this.leave(); });
      this.svg.addEventListener("blur", () => this.leave());
      this.svg.addEventListener("dblclick", () => this.zoom(null));
      this.svg.addEventListener("keydown", event => this.key(event));
    }

    key(event) {
      if (event.key === "Escape") { this.zoom(null); return; }
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const { left, right } = this.spans();
      const inside = x => x !== null && x >= left && x <= right;
      const all = [...new Set(this.data.series.flatMap(s => s.x.filter(inside)))].sort((a, b) => a - b);
      const now = this.at === undefined ? -1 : all.indexOf(this.at);
      this.read(all[Math.min(all.length - 1, Math.max(0, now + step))]);
    }
  }

  const plots = [...document.querySelectorAll("figure.plot")].map(figure => new Plot(figure));

  // On paper two charts stand side by side, and what is folded away is printed too.
  const PAPER = 340;
  let opened = [];
  addEventListener("beforeprint", () => {
    plots.forEach(plot => { plot.leave(); plot.width = PAPER; plot.draw(); });
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach(d => { d.open = true; });
  });
  addEventListener("afterprint", () => {
    plots.forEach(plot => { plot.width = 0; plot.fit(); });
    opened.forEach(d => { d.open = false; });
  });
})();
