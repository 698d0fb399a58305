// What every section of the page is made of: the report's data, controls, legends, tables. A section builds its controls
// once and gives back the function that draws it again. window.difflab is for tests and for a reader's console.

const report = JSON.parse(document.getElementById("data").textContent);
const KEY = report.unit.key;
const UNIT = report.unit.label;
// A name for legends and readouts: the whole one stands in the tables.
const clipped = (name) => (name.length > 70 ? `${name.slice(0, 45)} … ${name.slice(-20)}` : name);
const runs = report.runs.map((run, index) => ({ ...run, index, label: clipped(run.name), colour: `var(--c${index % 7})`, dash: null,
  shown: index < 6, config: { ...report.shared, ...run.config }, // what is the same is sent once
  measurements: run.measurements.map((one) => (one.result ? one : { ...one, result: run.result })) }));
const many = runs.length > 1;
const main = document.getElementById("main");
const sections = [];
const charts = {};
let focus = runs.find((run) => run.result) || runs[0];
window.difflab = { report, runs, charts, update, errors: [] };
window.addEventListener("error", (event) => {
  window.difflab.errors.push(event.message);
  document.documentElement.dataset.error = event.message;
});

const value = (run, name) => (run.result ? run.result[name] : null);
const step = (t) => `t = ${commas(t)}`;
const VARIANCES = { own: "var(--c1)", fixed_beta: "var(--c4)", fixed_beta_tilde: "var(--c2)", optimal: "var(--c0)" };
const T_AXIS = (log) => ({ label: "t  (1 = next to the data, T = noise)", log });
const LOG_SNR = { label: "log SNR  (clean → noise)", reverse: true };

function update() {
  paint();
  document.getElementById("chosen").textContent = many ? `Runs (${shown().length} of ${runs.length})` : "Run";
  for (const select of document.querySelectorAll("select[data-focus]")) select.value = focus.index;
  for (const draw of sections) draw();
}

// L_T with its subscript: the one index that Unicode lacks.
const math = (text) => text.split(/\bL_(T|0|mid)\b/).map((part, i) => (i % 2 ? el("span", {}, "L", el("sub", {}, part)) : part));

// -- parts of a section -----------------------------------------------------------------------------------------------

// The sections that follow stand in it. `name` is one of dashboard/sections.py, which says how to read it, or the page's own.
let part = main;
function chapter(name, own = false) {
  const of = report.sections.find((one) => one.name === name);
  if (!of && !own) throw new Error(`no chapter is called ${name}`);
  const id = `chapter-${name.toLowerCase().replaceAll(" ", "-")}`;
  part = main.appendChild(el("div", { class: "chapter", id }, el("h2", {}, name),
    of ? el("details", { class: "note" }, el("summary", {}, "How to read it"), el("p", {}, ...math(of.about))) : null));
  document.getElementById("nav").append(el("a", { href: `#${id}`, class: "chapter" }, name));
}

function section(id, title, lead, build) {
  const body = el("section", { id, "aria-labelledby": `${id}-title` }, el("h3", { id: `${id}-title` }, title),
    lead ? el("p", { class: "lead" }, ...math(lead)) : null);
  part.append(body);
  document.getElementById("nav").append(el("a", { href: `#${id}` }, title));
  const draw = build(body);
  if (draw) sections.push(draw);
}

// Which command makes what no run of the page has.
function lacking(kind, what) {
  const have = runs.some((run) => run[kind]);
  return have ? null : el("p", { class: "note" }, `${what} `,
    el("code", {}, `python -m difflab task=evaluate run=${focus.directory}`), " makes what a checkpoint of this run allows.");
}

function chart(id, body) {
  const host = el("div", { class: "chart", id });
  body.append(host);
  charts[id] = host;
  return host;
}

// choices: {name: {label, options: [[value, text]]} or {label}}; state holds the values, and draw is called on a change.
function controls(state, choices, draw) {
  const group = Math.random().toString(36).slice(2);
  const box = el("div", { class: "controls" });
  for (const [name, { label, options }] of Object.entries(choices)) {
    const change = (given) => { state[name] = given; draw(); };
    if (!options) {
      const input = el("input", { type: "checkbox", name, onchange: () => change(input.checked) });
      input.checked = state[name];
      box.append(el("label", {}, input, label));
      continue;
    }
    box.append(el("fieldset", {}, el("legend", {}, label), ...options.map(([key, text]) => {
      const input = el("input", { type: "radio", name: `${group}-${name}`, value: key, onchange: () => change(key) });
      input.checked = state[name] === key;
      return el("label", {}, input, text);
    })));
  }
  return box;
}

// For what is drawn of one run at a time.
function focusSelect() {
  if (!many) return null;
  const select = el("select", { "data-focus": true, "aria-label": "Run of this figure",
    onchange: () => { focus = runs[Number(select.value)]; update(); } },
    ...runs.map((run) => el("option", { value: run.index }, run.label)));
  return el("div", { class: "controls" }, el("label", {}, "run", select));
}

function legend(host, entries) {
  host.replaceChildren(...entries.map(({ name, colour, dash, dots }) => el("li", {},
    shape("svg", { width: 26, height: 10, "aria-hidden": true },
      dots ? shape("circle", { cx: 13, cy: 5, r: 3.5, style: { fill: "var(--ground)", stroke: colour, "stroke-width": 1.6 } })
        : shape("line", { x1: 0, x2: 26, y1: 5, y2: 5, "stroke-dasharray": dash, style: { stroke: colour, "stroke-width": 2 } })),
    el("span", {}, ...math(name)))));
}
const legendList = (body) => body.appendChild(el("ul", { class: "legend" }));

// A number that a test or a script can find: its full value stands in data-value.
function number(run, name, given, se) {
  return el("span", { "data-run": run.index, "data-key": name, "data-value": given, "data-se": se },
    format(given), known(se) ? el("span", { class: "se" }, ` ± ${format(se)}`) : null);
}
const measured = (run, name) => (known(value(run, name)) ? number(run, name, value(run, name), value(run, `${name}_se`)) : "–");

function table(head, rows, names = 1) {
  const told = (content, i) => (i < names ? "name" : "") + (content.length > 32 ? " told" : "");
  const cell = (tag) => (content, i) => el(tag, { class: told(content, i) || null, scope: tag === "th" ? "col" : null },
    ...(typeof content === "string" ? math(content) : [content]));
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "table" }, el("table", {},
    el("thead", {}, el("tr", {}, ...head.map(cell("th")))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map(cell("td")))))));
}
// A table of runs; of a crowd the first ten, the others folded.
function runTable(place, head, rows) {
  const first = rows.length > 15 ? 10 : rows.length;
  const open = place.querySelector("details")?.open;
  place.replaceChildren(table(head, rows.slice(0, first)));
  if (first === rows.length) return;
  const rest = place.appendChild(folded(`The other ${rows.length - first} runs`, table(head, rows.slice(first))));
  rest.open = Boolean(open);
}
const named = (run) => el("span", { class: "named" }, many ? swatch(run.colour) : null, el("span", {}, run.name));
const folded = (summary, content) => el("details", {}, el("summary", {}, summary), content);
