"use strict";
// Drawing: elements, numbers, scales, a line chart, a heatmap. A chart is data and one function call; every call
// replaces what its host held. Text from runs only ever becomes text nodes.

// -- elements -------------------------------------------------------------------------------------------------------

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "style") for (const [key, text] of Object.entries(value)) node.style.setProperty(key, text);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}
const el = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);
const shape = (name, attributes = {}, ...children) => fill(document.createElementNS(SVG, name), attributes, children);

// -- numbers --------------------------------------------------------------------------------------------------------

const known = (value) => typeof value === "number" && Number.isFinite(value);

const NUMBER = new Intl.NumberFormat("en"); // toLocaleString makes one for each number: a second for a page of many runs
const commas = (value) => NUMBER.format(value);

// As people read them: 4 decimals where that says something, else powers of ten.
function format(value) {
  if (!known(value)) return "–";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e15) return commas(value);
  if (size < 1e-3) return value.toExponential(1);
  return size >= 1e5 ? value.toExponential(3).replace("+", "") : value.toFixed(size >= 1000 ? 1 : size >= 100 ? 2 : 4);
}
const plusMinus = (value, se) => format(value) + (known(se) ? ` ± ${format(se)}` : "");

// A tick's number: as short as it can be.
function brief(value) {
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential().replace(/(\.\d)\d+/, "$1").replace("+", "");
  return Number(value.toPrecision(6)).toLocaleString("en", { maximumFractionDigits: 6 });
}

// -- scales ---------------------------------------------------------------------------------------------------------

function scale([low, high], [from, to], log) {
  const at = log ? Math.log10 : (value) => value;
  const [a, b] = [at(low), at(high)];
  return (value) => from + ((at(value) - a) / (b - a || 1)) * (to - from);
}

function ticks([low, high], count, log) {
  if (!log) {
    const rough = (high - low) / count || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].find((m) => m * power >= rough * 0.999) * power;
    const all = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) all.push(i * step);
    return all;
  }
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const every = Math.max(1, Math.ceil((last - first) / (count + 2)));
  const within = high / low <= 300 ? [1, 2, 5] : [1];
  const all = [];
  for (let power = first; power <= last; power += every) for (const m of within) all.push(m * 10 ** power);
  const inside = all.filter((value) => value >= low * 0.9999 && value <= high * 1.0001);
  return inside.length > 1 ? inside : ticks([low, high], count, false).filter((value) => value > 0);
}

// The range of the values, padded; on a logarithmic axis of the positive ones, six decades at most, or `span` times the lowest:
// what lies beyond stands at the edge.
function domain(values, log, zero, span) {
  const kept = values.filter((value) => known(value) && (!log || value > 0));
  if (!kept.length) return log ? [0.1, 1] : [0, 1];
  let low = kept.reduce((a, b) => Math.min(a, b));
  let high = kept.reduce((a, b) => Math.max(a, b));
  if (log) {
    if (span) high = Math.min(high, low * span);
    low = Math.max(low, high * 1e-6);
    return [low / 1.3, high * 1.3];
  }
  if (zero) low = Math.min(low, 0);
  const pad = (high - low) * 0.05 || Math.abs(high) * 0.05 || 1;
  return [zero && low === 0 ? 0 : low - pad, high + pad];
}

// -- the frame that all charts share ----------------------------------------------------------------------------------

// Axes with ticks, grid and titles in a fresh SVG; returns it with its scales and the plot's box.
function frame(host, spec, xDomain, yDomain, room = 0) {
  const width = Math.max(host.clientWidth || 640, 240);
  const height = spec.height || (width < 520 ? 270 : 340);
  const box = { left: 58, right: width - 12, top: 12 + room, bottom: height - 44 };
  const x = scale(spec.x.reverse ? [xDomain[1], xDomain[0]] : xDomain, [box.left, box.right], spec.x.log);
  const y = scale(yDomain, [box.bottom, box.top], spec.y.log);
  const root = shape("svg", {
    viewBox: `0 0 ${width} ${height}`, height, role: "img", tabindex: 0,
    "aria-label": `${spec.label}. Arrow keys read the values.`,
  });
  for (const value of spec.x.ticks || ticks(xDomain, width < 520 ? 4 : 8, spec.x.log)) {
    root.append(shape("line", { class: "grid", x1: x(value), x2: x(value), y1: box.top, y2: box.bottom }));
    root.append(shape("text", { x: x(value), y: box.bottom + 16, "text-anchor": "middle" }, brief(value)));
  }
  for (const value of spec.y.ticks || ticks(yDomain, 6, spec.y.log)) {
    const name = spec.y.names ? spec.y.names(value) : brief(value);
    root.append(shape("line", { class: "grid", x1: box.left, x2: box.right, y1: y(value), y2: y(value) }));
    root.append(shape("text", { x: box.left - 6, y: y(value) + 4, "text-anchor": "end" }, name));
  }
  root.append(shape("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }));
  const middle = (box.top + box.bottom) / 2;
  root.append(
    shape("text", { class: "title", x: (box.left + box.right) / 2, y: height - 8, "text-anchor": "middle" }, spec.x.label),
    shape("text", { class: "title", x: 12, y: middle, "text-anchor": "middle", transform: `rotate(-90 12 ${middle})` },
      spec.y.label),
  );
  return { root, x, y, box, width, height };
}

// A box of text beside a place of the chart; null hides it. Also what a screen reader hears.
function tooltip(host, box) {
  const tip = el("div", { class: "tip", role: "status", "aria-live": "polite", hidden: true });
  host.append(tip);
  return (at, lines) => {
    tip.hidden = !lines || !lines.length;
    if (tip.hidden) return;
    const row = (line) => el("div", {}, line.colour ? swatch(line.colour) : null, line.bold ? el("b", {}, line.text) : line.text);
    tip.replaceChildren(...lines.map(row));
    const left = at > (box.left + box.right) / 2;
    tip.style.left = left ? "" : `${at + 14}px`;
    tip.style.right = left ? `${host.clientWidth - at + 14}px` : "";
    tip.style.top = `${box.top + 4}px`;
  };
}

const swatch = (colour) => el("span", { class: "swatch", style: { background: colour } });

function place(event, root) {
  const rect = root.getBoundingClientRect();
  return [event.clientX - rect.left, event.clientY - rect.top];
}

// -- line chart -------------------------------------------------------------------------------------------------------

// spec: {label, x: {label, log, reverse}, y: {label, log, zero}, series, marks, lines}
// series: {name, colour, dash, thin, dots, bars, bare, points: [{x, y, se, note}]}: `bars` draws se as error bars, else
// as a band; `bare` draws no line. marks: single points {x, y, se, name, colour, square}. lines: horizontal {y, name}.
function lineChart(host, spec) {
  host.replaceChildren();
  const usable = (point) => known(point.x) && known(point.y) && (!spec.x.log || point.x > 0) && (!spec.y.log || point.y > 0);
  const series = spec.series.map((one) => ({ ...one, points: one.points.filter(usable) }));
  const marks = spec.marks || [];
  const all = series.flatMap((one) => one.points);
  if (!all.length && !marks.some(usable)) {
    host.append(el("p", { class: "note" }, "Nothing to draw: no run is shown, or no value is positive on this logarithmic axis."));
    return;
  }
  const body = all.length ? all : marks.filter(usable);
  const floor = spec.y.log ? body.reduce((low, point) => Math.min(low, point.y), Infinity) / 30 : -Infinity;
  const inside = marks.filter((mark) => usable(mark) && mark.y > floor);
  const reach = [...body, ...inside].flatMap((p) => (known(p.se) && !spec.y.log ? [p.y - p.se, p.y + p.se] : [p.y]));
  const yDomain = spec.y.domain || domain([...reach, ...(spec.lines || []).map((line) => line.y)], spec.y.log, spec.y.zero,
    spec.y.span);
  const xs = [...body, ...marks].map((point) => point.x).filter((at) => known(at) && (!spec.x.log || at > 0));
  const [low, high] = [xs.reduce((a, b) => Math.min(a, b)), xs.reduce((a, b) => Math.max(a, b))];
  const pad = (high - low) * 0.015 || 0.5;
  const xDomain = spec.x.domain || (spec.x.log ? [low / 1.1, high * 1.1] : [low - pad, high + pad]);
  const { root, x, y, box } = frame(host, spec, xDomain, yDomain);
  const held = (value) => Math.min(Math.max(value, box.top), box.bottom);
  const yy = (value) => (spec.y.log && value <= 0 ? box.bottom : held(y(value)));

  for (const line of spec.lines || []) {
    root.append(shape("line", { class: "cursor", x1: box.left, x2: box.right, y1: yy(line.y), y2: yy(line.y),
      style: { stroke: line.colour } }));
  }
  for (const one of series) root.append(band(one, x, yy));
  for (const one of series) root.append(curve(one, x, yy));
  for (const mark of marks) {
    if (!known(mark.x) || !known(mark.y)) continue;
    const below = !inside.includes(mark) || mark.y < yDomain[0];
    const at = [x(mark.x), below ? box.bottom - 5 : yy(mark.y)];
    root.append(below ? triangle(at, mark) : symbol(at, mark));
  }
  reading(host, root, box, x, y, series, spec);
}

const error = (one, point, x, y) =>
  shape("line", { x1: x(point.x), x2: x(point.x), y1: y(point.y - point.se), y2: y(point.y + point.se),
    style: { stroke: one.colour, "stroke-width": 1.5 } });

function band(one, x, y) {
  const points = one.points.filter((point) => known(point.se));
  if (one.bars) return shape("g", {}, ...points.map((point) => error(one, point, x, y)));
  const upper = points.map((p) => `${x(p.x).toFixed(1)},${y(p.y + p.se).toFixed(1)}`);
  const lower = points.map((p) => `${x(p.x).toFixed(1)},${y(p.y - p.se).toFixed(1)}`).reverse();
  return shape("polygon", { class: "band", points: [...upper, ...lower].join(" "), style: { fill: one.colour } });
}

function curve(one, x, y) {
  const group = shape("g", { "data-series": one.name });
  const path = one.points.map((p, i) => `${i ? "L" : "M"}${x(p.x).toFixed(1)} ${y(p.y).toFixed(1)}`).join("");
  if (!one.bare) {
    group.append(shape("path", { class: "line", d: path, "stroke-dasharray": one.dash,
      style: { stroke: one.colour, "stroke-width": one.thin ? 1 : null } }));
  }
  if (one.dots || one.bare || one.points.length === 1) for (const p of one.points) group.append(symbol([x(p.x), y(p.y)],
    { colour: one.colour, small: true, name: "", hollow: one.hollow }));
  return group;
}

function symbol([x, y], mark) {
  const r = mark.small ? 3.2 : 5;
  const style = { fill: mark.hollow ? "var(--ground)" : mark.colour, stroke: mark.hollow ? mark.colour : "var(--ground)",
    "stroke-width": mark.hollow ? 1.6 : 1 };
  const title = shape("title", {}, mark.name);
  if (!mark.square) return shape("circle", { cx: x, cy: y, r, style }, title);
  return shape("rect", { x: x - r, y: y - r, width: 2 * r, height: 2 * r, transform: `rotate(45 ${x} ${y})`, style }, title);
}

// A mark that lies below the axis.
const triangle = ([x, y], mark) => shape("path", { d: `M${x - 6} ${y - 5}h12l-6 9z`, style: { fill: mark.colour } },
  shape("title", {}, `${mark.name}, below the axis`));

const MOST_TOLD = 14; // curves
// Hover, touch and arrow keys: the nearest value of every curve.
function reading(host, root, box, x, y, series, spec) {
  const cursor = shape("line", { class: "cursor", y1: box.top, y2: box.bottom, visibility: "hidden" });
  const dots = shape("g");
  root.append(cursor, dots);
  host.append(root);
  const say = tooltip(host, box);
  const places = [...new Set(series.flatMap((one) => one.points.map((p) => x(p.x))))].sort((a, b) => a - b);
  let at = null;

  function show(px, py) {
    at = px;
    dots.replaceChildren();
    cursor.setAttribute("visibility", px === null ? "hidden" : "visible");
    if (px === null) return say(0, null);
    const near = [];
    for (const one of series) {
      const point = one.points.reduce((best, p) => (!best || Math.abs(x(p.x) - px) < Math.abs(x(best.x) - px) ? p : best), null);
      if (point && Math.abs(x(point.x) - px) < 30) near.push([one, point]);
    }
    // of a crowd those nearest to the pointer
    const told = near.length > MOST_TOLD && py !== undefined
      ? [...near].sort(([, p], [, q]) => Math.abs(y(p.y) - py) - Math.abs(y(q.y) - py)).slice(0, MOST_TOLD) : near.slice(0, MOST_TOLD);
    cursor.setAttribute("x1", px);
    cursor.setAttribute("x2", px);
    for (const [one, p] of told) dots.append(shape("circle", { cx: x(p.x), cy: y(p.y), r: 4, style: { fill: one.colour } }));
    const notes = told.map(([, p]) => p.note);
    const shared = notes.length && notes.every((note) => note === notes[0]) ? notes[0] : null;
    const lines = told.map(([one, p]) => ({ colour: one.colour,
      text: `${one.name}: ${plusMinus(p.y, p.se)}${shared || !p.note ? "" : ` (${p.note})`}` }));
    if (told.length < near.length) lines.push({ text: `and ${near.length - told.length} more` });
    say(px, shared ? [{ text: shared, bold: true }, ...lines] : lines);
  }
  root.addEventListener("pointermove", (event) => {
    const [px, py] = place(event, root);
    if (px >= box.left - 8 && px <= box.right + 8) show(px, py);
  });
  root.addEventListener("pointerdown", (event) => show(...place(event, root)));
  root.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && show(null));
  root.addEventListener("blur", () => show(null));
  root.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") show(null);
    if (!way || !places.length) return;
    event.preventDefault();
    const next = way > 0 ? places.find((p) => p > (at ?? -1) + 0.5) : places.findLast((p) => p < (at ?? 1e9) - 0.5);
    if (next !== undefined) show(next);
  });
  host.chart = { series, spec, show };
}

// -- heatmap ------------------------------------------------------------------------------------------------------------

// cividis, readable to colour-blind readers and in grey
const CIVIDIS = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"];

function colour(share) {
  const at = Math.min(Math.max(share, 0), 1) * (CIVIDIS.length - 1);
  const [a, b] = [CIVIDIS[Math.floor(at)], CIVIDIS[Math.ceil(at)]];
  const mix = (i) => Math.round(parseInt(a.slice(i, i + 2), 16) * (1 - (at % 1)) + parseInt(b.slice(i, i + 2), 16) * (at % 1));
  return `rgb(${mix(1)},${mix(3)},${mix(5)})`;
}

// spec: {label, legend, x: {label, log, edges}, y: {label, log, edges, ticks, names}, values[row][column], describe(column, row)
// -> lines, pick(column, row), picked: column}. Logarithmic colours; cells that are absent or not positive stay grey.
function heatmap(host, spec) {
  host.replaceChildren();
  const values = spec.values.flat().filter((value) => known(value) && value > 0);
  const high = values.reduce((a, b) => Math.max(a, b), 1e-300);
  const low = Math.max(values.reduce((a, b) => Math.min(a, b), high), high * 1e-6);
  const ends = (edges) => [edges[0], edges[edges.length - 1]];
  const { root, x, y, box, width } = frame(host, spec, ends(spec.x.edges), ends(spec.y.edges), 26);
  const cells = [];
  spec.values.forEach((row, r) => row.forEach((value, c) => {
    const [left, right] = [x(spec.x.edges[c]), x(spec.x.edges[c + 1])];
    const [bottom, top] = [y(spec.y.edges[r]), y(spec.y.edges[r + 1])];
    const tone = known(value) && value > 0 ? colour(Math.log(value / low) / (Math.log(high / low) || 1)) : "var(--empty)";
    const cell = shape("rect", {
      class: "cell", x: left, y: top, width: right - left + 0.4, height: bottom - top + 0.4, "data-column": c, "data-row": r,
        "data-value": known(value) ? value : null,
      style: { fill: tone, cursor: spec.pick ? "pointer" : null },
    });
    cells.push(cell);
  }));
  root.append(...cells, key(spec.legend, low, high, width));
  if (known(spec.picked)) {
    const [left, right] = [x(spec.x.edges[spec.picked]), x(spec.x.edges[spec.picked + 1])];
    root.append(shape("rect", { x: left, y: box.top, width: right - left, height: box.bottom - box.top,
      style: { fill: "none", stroke: "var(--ink)", "stroke-width": 2, "pointer-events": "none" } }));
  }
  host.append(root);
  const say = tooltip(host, box);
  const columns = spec.x.edges.length - 1;
  let at = known(spec.picked) ? spec.picked : 0;

  function show(cell) {
    for (const on of root.querySelectorAll(".cell.on")) on.classList.remove("on");
    if (!cell) return say(0, null);
    cell.classList.add("on");
    at = cells.indexOf(cell);
    say(Number(cell.getAttribute("x")), spec.describe(Number(cell.dataset.column), Number(cell.dataset.row)));
  }
  const under = (event) => (event.target.classList.contains("cell") ? event.target : null);
  const pick = (cell) => cell && spec.pick && spec.pick(Number(cell.dataset.column), Number(cell.dataset.row));
  root.addEventListener("pointermove", (event) => show(under(event)));
  root.addEventListener("pointerleave", () => show(null));
  root.addEventListener("blur", () => show(null));
  root.addEventListener("click", (event) => pick(under(event)));
  root.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: columns, ArrowDown: -columns }[event.key];
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pick(cells[at]); }
    if (way === undefined) return;
    event.preventDefault();
    if (cells[at + way]) show(cells[at + way]);
  });
  host.chart = { spec, cells, show };
}

// The colours' legend, above the map.
function key(name, low, high, width) {
  const steps = 24;
  const right = width - 12;
  const start = right - 210;
  return shape("g", {},
    ...Array.from({ length: steps }, (_, i) => shape("rect",
      { x: start + 45 + i * 5, y: 8, width: 5.3, height: 9, style: { fill: colour(i / (steps - 1)) } })),
    shape("text", { x: start + 40, y: 17, "text-anchor": "end" }, brief(Number(low.toPrecision(2)))),
    shape("text", { x: right, y: 17, "text-anchor": "end" }, brief(Number(high.toPrecision(2)))),
    shape("text", { class: "title", x: start, y: 17, "text-anchor": "end" }, name),
  );
}
