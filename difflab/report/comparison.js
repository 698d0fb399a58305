// The page of a comparison: its blocks, with tables to sort, rows to filter by what was varied, views of the effects to choose.

const chosen = {}; // {factor: level}; without one, all
const paint = () => {}; // no run is drawn here, so there is nothing to colour and none to choose
const shown = () => [];
document.getElementById("view").hidden = true;
const tables = [];

// -- tables -----------------------------------------------------------------------------------------------------------

// What a cell is sorted by: the number it begins with, if it does. "best" is a difference of 0, a ratio begins with x.
function rank(text) {
  const plain = text.replaceAll(",", "").replace(/^x(?=\d)/, "").replace("−", "-");
  const found = text === "best" ? 0 : parseFloat(plain);
  return Number.isNaN(found) ? null : found;
}

function order(a, b, up) {
  const [x, y] = [rank(a), rank(b)];
  if ((x === null) !== (y === null)) return x === null ? 1 : -1; // what has no number comes last either way
  const less = x === null ? a.localeCompare(b, "en", { numeric: true }) : x - y;
  return up ? less : -less;
}

function sorted(head, rows, names) {
  const box = table(head, rows, names);
  const whole = box.querySelector("tbody");
  const lines = [...whole.rows].map((line, i) => ({ line, cells: rows[i] }));
  box.querySelectorAll("th").forEach((cell, column) => {
    if (!head[column]) return;
    const button = el("button", { type: "button", onclick: () => {
      const up = cell.getAttribute("aria-sort") !== "ascending";
      for (const other of box.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", up ? "ascending" : "descending");
      const by = [...lines].sort((a, b) => order(a.cells[column] ?? "", b.cells[column] ?? "", up));
      whole.append(...by.map((one) => one.line));
    } }, ...cell.childNodes);
    cell.replaceChildren(button);
  });
  if (rows.some((row) => row[0] in report.levels)) tables.push(lines);
  return box;
}

// -- blocks -----------------------------------------------------------------------------------------------------------

const KINDS = {
  heading: (block) => el("h3", {}, block.heading),
  text: (block) => el("p", { class: "lead" }, ...code(block.text)),
  items: (block) => el("ul", { class: "said" }, ...block.items.map((item) => el("li", {}, ...math(item)))),
  head: (block) => sorted(block.head, block.rows, block.names),
  src: (block) => el("figure", { class: "plate" }, el("img", { src: block.src, alt: block.caption }),
    el("figcaption", {}, block.caption)),
};
const drawn = (blocks) => blocks.map((block) => KINDS[Object.keys(KINDS).find((kind) => kind in block)](block));
const code = (text) => text.split("`").flatMap((part, i) => (i % 2 ? [el("code", {}, part)] : math(part)));

// -- the page ---------------------------------------------------------------------------------------------------------

function lost() {
  const { failed, not_defined: undefinedCells } = report;
  const list = (jobs) => el("ul", { class: "said" }, ...jobs.map(([name, why]) => el("li", {}, el("b", {}, name), `: ${why}`)));
  const box = (id, count, what, jobs) => (jobs.length ? main.append(el("div", { class: "alarm", id, role: "alert" },
    el("h2", {}, `${count} ${what}`), list(jobs))) : null);
  box("failed", failed.length, failed.length === 1 ? "job failed" : "jobs failed", failed);
  box("not-defined", undefinedCells.length, undefinedCells.length === 1 ? "cell of the grid is not defined"
    : "cells of the grid are not defined", undefinedCells);
}

function matches(name) {
  const own = report.levels[name];
  return !own || Object.entries(chosen).every(([factor, level]) => own[factor] === level);
}

function filter(note) {
  let [seen, all] = [0, 0];
  for (const lines of tables) for (const { line, cells } of lines) line.hidden = !matches(cells[0]);
  if (tables.length) [seen, all] = [tables[0].filter(({ line }) => !line.hidden).length, tables[0].length];
  note.textContent = seen < all ? `${seen} of ${all} rows shown; figures and effects are of all.` : "";
}

function filters(body) {
  if (!report.factors.length) return null;
  const note = el("p", { class: "note", id: "filtered" });
  const box = el("div", { class: "controls", id: "filters" });
  for (const { name, levels } of report.factors) {
    const select = el("select", { "data-factor": name, onchange: () => {
      if (select.value) chosen[name] = levels[Number(select.value) - 1];
      else delete chosen[name];
      filter(note);
    } }, el("option", { value: "" }, "all"), ...levels.map((level, i) => el("option", { value: i + 1 }, level)));
    box.append(el("label", {}, name, select));
  }
  body.append(box, note);
  return () => filter(note);
}

function effectViews(body) {
  const place = el("div");
  const state = { view: report.views[0].name };
  const draw = () => {
    const view = report.views.find((one) => one.name === state.view);
    place.replaceChildren(...drawn(view.blocks));
  };
  if (report.views.length > 1) body.append(controls(state, { view: { label: "cells and scale",
    options: report.views.map(({ name }) => [name, name]) } }, draw));
  body.append(place);
  return draw;
}

main.append(el("h1", {}, report.title));
lost();
for (const { id, title, blocks } of report.sections) {
  section(id, title, null, (body) => {
    const draw = id === "ranking" ? filters(body) : null;
    body.append(...drawn(blocks));
    return id === "effects" && report.views.length ? effectViews(body) : draw;
  });
}
if (report.pictures.length) section("figures", "Figures", null, (body) => { body.append(...drawn(report.pictures)); });
if (report.notes.length) section("again", "Measured again", null, (body) => { body.append(...drawn([{ items: report.notes }])); });
begin();
