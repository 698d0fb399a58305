// The mapping itself: the graphical model with its bits, which frequencies drown when, the way to noise and back.

const indexed = (name, at) => shape("text", { "text-anchor": "middle", y: 4 }, name,
  shape("tspan", { dy: 4, style: { "font-size": "9px" } }, at));

function graph(body) {
  const gone = lacking("graph", "No run holds a ledger.");
  if (gone) return void body.append(gone);
  const state = { by: "log_snr" };
  const list = legendList(body);
  const host = chart("chart-graph", body);
  const sum = body.appendChild(el("p", { class: "lead" }));
  const place = body.appendChild(el("div"));
  const draw = () => {
    place.replaceChildren();
    sum.replaceChildren();
    const g = focus.graph;
    if (!g) return void (legend(list, []), host.replaceChildren(el("p", { class: "note" }, "This run has no ledger.")));
    const steps = [
      { to: g.T, term: "L_T", value: g.prior, colour: "var(--c3)", what: "prior KL" },
      ...[...g.groups[state.by]].reverse().map((group) => ({ ...group, to: group.first - 1, colour: "var(--c0)",
        term: group.first === group.last ? `L, ${step(group.first)}` : `Σ L, t = ${group.first}–${group.last}`,
        what: `${group.last - group.first + 1} transition${group.last > group.first ? "s" : ""}` })),
      { to: 0, term: "L₀", value: g.decoder, colour: "var(--c1)", what: "decoder", log_snr: g.log_snr_1 },
    ];
    const space = g.space ? [` + x → z ${format(g.space)}`] : [];
    legend(list, [{ name: "L_T", colour: "var(--c3)" }, { name: "transitions p(xₛ | xₜ)", colour: "var(--c0)" },
      { name: "L₀", colour: "var(--c1)" }, { name: "q, which costs nothing", colour: "var(--soft)", dash: "2 3" },
      ...(steps.some((one) => one.value < 0) ? [{ name: "hollow: negative (a density may exceed 1)", colour: "var(--soft)", dash: "3 2" }] : [])]);
    chain(host, steps);
    const total = el("b", { "data-run": focus.index, "data-key": "graph.total", "data-value": g.total }, format(g.total));
    const transitions = steps.slice(1, -1).reduce((all, one) => all + one.value, 0);
    sum.append(...math(`L_T ${format(g.prior)} + Σ Lₜ₋₁ ${format(transitions)} + L₀ ${format(g.decoder)}`), ...space, " = ", total, ` ${UNIT}`,
      g.dims ? `, ${format(Number((g.total * g.dims).toPrecision(5)))} ${UNIT.split("/")[0]} for an example of ${format(g.dims)} values.` : ".");
    place.append(folded("The groups as a table", table(["arrow", "term", "from log SNR", UNIT, "share"], steps.map((one, i) => [
      `${i ? `x_${steps[i - 1].to}` : "N(0, I)"} → x_${one.to}`, one.term, known(one.log_snr) ? one.log_snr.toFixed(2) : "–",
      number(focus, `graph.${i}`, one.value, one.se), `${((100 * one.value) / g.total).toFixed(1)}%`]))));
  };
  body.insertBefore(controls(state, { by: { label: "arrows even in",
    options: [["log_snr", "log SNR"], ["t", "t"], ["log_t", "log t"]] } }, draw), list);
  if (many) body.insertBefore(focusSelect(), list);
  return draw;
}

// The chain as nodes and arrows, each as wide as its bits: in a row, or from top to bottom where there is no room for one.
function chain(host, steps) {
  const width = Math.max(host.clientWidth || 640, 240);
  const across = width >= 760;
  const [radius, thick] = [17, 44];
  const gap = across ? (width - 2 * radius - 8) / steps.length : 62;
  const height = across ? 150 : gap * steps.length + 2 * radius + 8;
  const at = (i) => radius + 4 + gap * i;  // of node i along the chain; node 0 is the known distribution
  const middle = across ? 66 : 96;
  const spot = (along, aside) => (across ? [along, middle + aside] : [middle + aside, along]);
  const pen = (...points) => points.map((point) => point.map((v) => v.toFixed(1)).join(" ")).join("L");
  const most = Math.max(...steps.map((one) => Math.abs(one.value)));
  const root = shape("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img",
    "aria-label": "The graphical model from noise to data with the bits of its arrows; the table below holds the values" });
  steps.forEach((one, i) => {
    const [from, to] = [at(i) + radius + 3, at(i + 1) - radius - 3];
    const half = Math.max(0.6, (thick / 2) * (Math.abs(one.value) / most));
    const head = Math.min(9, (to - from) / 3);
    const out = Math.max(half * 1.3, half + 3);
    const hollow = one.value < 0;
    root.append(shape("path", { "data-arrow": i, d: `M${pen(spot(from, -half), spot(to - head, -half), spot(to - head, -out), spot(to, 0),
      spot(to - head, out), spot(to - head, half), spot(from, half))}Z`, style: { fill: hollow ? "var(--ground)" : one.colour,
      stroke: one.colour, "stroke-width": hollow ? 1.5 : 0.5, "stroke-dasharray": hollow ? "3 2" : null } },
      shape("title", {}, `${one.term}: ${plusMinus(one.value, one.se)} ${UNIT} (${one.what})`)));
    const text = { class: "title", "text-anchor": across ? "middle" : "start" };
    const short = Math.abs(one.value) < 5e-5 && one.value !== 0 ? (across ? "≈ 0" : `${one.value.toExponential(1)} ${UNIT}`)
      : one.value.toFixed(4) + (across ? "" : ` ${UNIT}`);
    const centre = (from + to) / 2;
    if (across) {
      root.append(shape("text", { ...text, x: centre, y: 24 }, short),
        shape("text", { "text-anchor": "middle", x: centre, y: 10 }, i ? one.term === "L₀" ? "L₀" : "" : "L", i ? null
          : shape("tspan", { dy: 3, style: { "font-size": "9px" } }, "T")));
    } else {
      root.append(shape("text", { ...text, x: 136, y: centre }, short),
        shape("text", { x: 136, y: centre + 15 }, i ? one.term : "L_T"));
    }
    if (i) {  // q goes the other way, from x_s to x_t
      const [a, b] = [spot(at(i + 1) - 4, radius + 1), spot(at(i) + 4, radius + 1)];
      const bend = spot((at(i) + at(i + 1)) / 2, across ? 62 : -78);
      const [c, d] = across ? [a, b] : [spot(at(i + 1) - 4, -radius - 1), spot(at(i) + 4, -radius - 1)];
      root.append(shape("path", { class: "q", d: `M${pen(c)}Q${pen(bend)} ${pen(d)}` }));
    }
  });
  const node = (i, label) => {
    const [x, y] = spot(at(i), 0);
    return shape("g", { transform: `translate(${x} ${y})` }, i ? shape("circle", { class: "node", r: radius })
      : shape("rect", { class: "node", x: -radius, y: -radius + 3, width: 2 * radius, height: 2 * radius - 6, rx: 4 }), label);
  };
  root.append(node(0, shape("text", { "text-anchor": "middle", y: 4, style: { "font-size": "10px" } }, "N(0,I)")),
    ...steps.map((one, i) => node(i + 1, indexed("x", String(one.to)))));
  if (across) {
    steps.forEach((one, i) => {
      const later = steps[i + 1];
      if (later && known(later.log_snr)) root.append(shape("text", { x: at(i + 1), y: 122, "text-anchor": "middle",
        style: { "font-size": "10px" } }, later.log_snr.toFixed(1)));
    });
    root.append(shape("text", { x: width / 2, y: 143, "text-anchor": "middle" }, "log SNR of each x   (left: noise, right: data)"));
  }
  host.replaceChildren(root);
  host.chart = { steps };
}

// -- there and back -----------------------------------------------------------------------------------------------------

const walking = (m) => `${m.sampler}${known(m.eta) ? `, η = ${m.eta}` : ""}, ${commas(m.steps)} of ${commas(m.T)} levels`;

function unwalked(what, has = (run) => run.mapping) {
  return runs.some(has) ? null : el("p", { class: "note" }, `${what} `,
    code(`python -m difflab task=mapping run=${focus.directory}`), " makes it; task=report does so itself for at most 8 runs that have checkpoints.");
}

function walk(body) {
  const gone = unwalked("No run holds a record of the mapping.");
  if (gone) return void body.append(gone);
  body.append(focusSelect() || "");
  const place = body.appendChild(el("div"));
  const state = { as: "t", few: false };
  const lines = () => focus.mapping && focus.mapping.paths;
  const title = body.appendChild(el("div", {}, el("h4", {}, "Trajectories"), controls(state,
    { as: { label: "show", options: [["t", "x₁ over t"], ["plane", "in the plane"]] }, few: { label: "only 12" } }, () => drawPaths())));
  const pair = body.appendChild(el("div", { class: "pair" }));
  const hosts = { forward: chart("chart-paths-forward", pair), reverse: chart("chart-paths-reverse", pair) };
  const hint = body.appendChild(el("p", { class: "note" }));
  const drawPaths = () => {
    for (const [name, host] of Object.entries(hosts)) trajectories(host, lines(), name, state);
  };
  return () => {
    const m = focus.mapping;
    title.hidden = pair.hidden = hint.hidden = !lines();
    hint.replaceChildren("Without noise in each step: ", code(`python -m difflab task=mapping run=${focus.directory} sampler=ddim`),
      ", then this report again.");
    if (!m) return void place.replaceChildren(el("p", { class: "note" }, "This run holds no record of the mapping."));
    const cell = m.clouds ? cloudCells(m) : pictureCells(m);
    const row = (name, content) => el("tr", {}, el("th", { scope: "row" }, ...name), ...m.t.map((_, i) => el("td", {}, content(i))));
    const facts = [["t", (i) => String(m.t[i])], ["log SNR", (i) => (known(m.log_snr[i]) ? m.log_snr[i].toFixed(1) : i ? "−∞" : "∞")],
      [`to pay, ${UNIT}`, (i) => (known(m.left[i]) ? el("span", { "data-run": focus.index, "data-key": `left.${m.t[i]}`,
        "data-value": m.left[i] }, m.left[i].toFixed(Math.abs(m.left[i]) >= 100 ? 1 : 3)) : "–")]];
    place.replaceChildren(
      el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "levels of t" }, el("table", { class: "strip" },
        el("tbody", {}, ...facts.map(([name, content]) => row([name], content)),
          row(["q  →", el("small", {}, "xₜ of test examples, one noise along the path")], (i) => cell("forward", i)),
          row(["←  p", el("small", {}, `xₜ of the walk back (${walking(m)})`)], (i) => cell("reverse", i)),
          row(["x̂₀", el("small", {}, "what the network expects there")], (i) => (i ? cell("x0_hat", i - 1) : ""))))),
      el("p", { class: "note" }, `At step ${commas(m.step)}. To pay: L₀ and the transitions up to t, what is left of the bound for who knows xₜ.`,
        m.strips ? " Grey levels are clamped to the data's range." : m.shape[0] > 2 ? ` Coordinates 1 and 2 of ${m.shape[0]}.`
          : m.shape[0] === 1 ? " One coordinate, spread vertically." : ""));
    if (lines()) drawPaths();
  };
}

function pictureCells(m) {
  const text = { forward: "Test examples", reverse: "Samples on their way back", x0_hat: "Expected x₀" };
  return (name, i) => el("img", { src: m.strips[name][i], alt: `${text[name]} at ${step(m.t[name === "x0_hat" ? i + 1 : i])}` });
}

// Points as round dots of one path each.
function cloudCells(m) {
  const reach = extent([m.clouds.forward[0], m.clouds.forward.at(-1)].flat());
  const colour = { forward: "var(--c0)", reverse: "var(--c1)", x0_hat: "var(--c2)" };
  return (name, i) => {
    const [cx, cy, r] = reach;
    const d = m.clouds[name][i].filter((p) => p.every(known)).map(([x, y]) =>
      `M${(((x - cx) / r) * 50 + 50).toFixed(1)} ${(50 - ((y - cy) / r) * 50).toFixed(1)}h0`).join("");
    return shape("svg", { class: "cloud", viewBox: "0 0 100 100", role: "img",
      "aria-label": `${m.clouds[name][i].length} points at ${step(m.t[name === "x0_hat" ? i + 1 : i])}` },
      shape("path", { d, style: { stroke: colour[name] } }));
  };
}

// [middle x, middle y, half side] of a square that holds nearly all of the points.
function extent(points) {
  const sides = [0, 1].map((axis) => {
    const all = points.map((point) => point[axis]).filter(known).sort((a, b) => a - b);
    return [all[Math.floor(0.002 * all.length)] ?? -1, all[Math.ceil(0.998 * all.length) - 1] ?? 1];
  });
  const r = Math.max(...sides.map(([a, b]) => (b - a) / 2)) * 1.12 || 1;
  return [(sides[0][0] + sides[0][1]) / 2, (sides[1][0] + sides[1][1]) / 2, r];
}

function trajectories(host, paths, name, state) {
  const over = state.as === "t";
  const lines = paths[name].slice(0, state.few ? 12 : undefined).map((line) => (over ? line.map((p, i) => [paths.t[i], p[0]]) : line));
  const [cx, cy, r] = extent([...paths.forward, ...paths.reverse].flatMap((line) => [line[0], line.at(-1)]));
  const back = name === "reverse";
  host.replaceChildren();
  const label = back ? `p: ${lines.length} walks from noise (grey) to samples` : `q: ${lines.length} examples on their way to noise (grey)`;
  const height = over ? 300 : Math.max(host.clientWidth || 480, 240) - 14;
  const { root, x, y, box } = frame(host, { label, height, x: { label }, y: { label: over ? "x₁" : "" } },
    over ? [0, paths.t.at(-1) * 1.03] : [cx - r, cx + r], over ? [cx - r, cx + r] : [cy - r, cy + r]);
  const held = ([px, py]) => [Math.min(Math.max(x(px), box.left), box.right), Math.min(Math.max(y(py), box.top), box.bottom)];
  const ends = (points, colour) => shape("g", {}, ...points.filter((p) => p.every(known)).map((p) => {
    const [px, py] = held(p);
    return shape("circle", { cx: px.toFixed(1), cy: py.toFixed(1), r: 2.6, style: { fill: colour } });
  }));
  root.append(...lines.map((line) => shape("path", { class: "trajectory",
    d: line.filter((p) => p.every(known)).map((p, i) => `${i ? "L" : "M"}${held(p).map((v) => v.toFixed(1)).join(" ")}`).join(""),
    style: { stroke: back ? "var(--c1)" : "var(--c0)", opacity: lines.length > 20 ? 0.25 : 0.7 } })),
    ends(lines.map((line) => line.at(-1)), "var(--soft)"), ends(lines.map((line) => line[0]), back ? "var(--c1)" : "var(--c0)"));
  host.append(root);
  host.chart = { lines };
}

// -- frequencies --------------------------------------------------------------------------------------------------------

const bandColour = (k) => `color-mix(in oklch, var(--c0) ${Math.round(100 - (100 * k) / 7)}%, var(--c1))`;
const sigmoid = (v) => 1 / (1 + Math.exp(-v));

// log SNR at a t between the kept levels of the chain; from the last finite level on, that one's (pure noise has −∞).
function logSnrAt(s, t) {
  const last = s.log_snr.findLastIndex(known);
  let i = s.t.findIndex((at) => at >= t);
  if (i < 0 || i > last) i = last;
  if (t >= s.t[last]) return s.log_snr[last];
  if (s.t[i] === t || !i) return s.log_snr[i];
  const share = (t - s.t[i - 1]) / (s.t[i] - s.t[i - 1]);
  return s.log_snr[i - 1] + share * (s.log_snr[i] - s.log_snr[i - 1]);
}

// {edge values of t: cost of a bin} of one band -> the t at which half of the band's mean error is paid, coming from noise.
function halfPaid(b, k) {
  const costs = b.values.map((row, c) => (row[k] || 0) * (b.edges[c + 1] - b.edges[c]));
  let left = costs.reduce((a, v) => a + v, 0) / 2;
  for (let c = costs.length - 1; c >= 0; c--) {
    if (costs[c] >= left) return b.edges[c + 1] - (left / (costs[c] || 1)) * (b.edges[c + 1] - b.edges[c]);
    left -= costs[c];
  }
  return null;
}

function drowning(body) {
  const gone = unwalked("No run holds a spectrum (spectra are defined for pictures only).", (run) => run.mapping && run.mapping.spectrum);
  if (gone) return void body.append(runs.some((run) => run.mapping)
    ? el("p", { class: "note" }, "Spectra are defined for pictures only.") : gone);
  const state = { axis: "log_snr", logT: true, centred: false };
  const order = body.appendChild(el("p"));
  const list = legendList(body);
  const pair = body.appendChild(el("div", { class: "pair" }));
  const half = (text) => { const box = pair.appendChild(el("div", {}, el("h4", {}, text))); return box; };
  const snr = chart("chart-drowning", half("SNR of each band in xₜ: below 1 it is drowned"));
  const costs = chart("chart-band-costs", half("What each band costs (circles: where it drowns)"));
  body.append(el("h4", {}, "The spectrum of xₜ"));
  const picker = body.appendChild(el("div"));
  const parts = legendList(body);
  const spectrum = chart("chart-spectrum", body);
  const place = body.appendChild(el("div"));
  let [at, of] = [0, null];
  const name = (k) => (k === 0 ? "band 0 (lowest)" : k === 7 ? "band 7 (highest)" : `band ${k}`);
  const draw = () => {
    const found = focus.mapping && focus.mapping.spectrum;
    const s = found && { ...found, ...found[state.centred ? "centred" : "raw"] };
    if (!s) {
      for (const node of [order, list, snr, costs, picker, parts, spectrum, place]) node.replaceChildren();
      return void order.append("This run holds no spectrum.");
    }
    const levels = focus.mapping.t.slice(1);
    if (of !== focus) [at, of] = [Math.floor((levels.length - 1) / 2), focus];
    const bandsOf = s.power.map((_, k) => k).filter((k) => known(s.power[k]));
    const deepest = Math.min(...s.drowned_log_snr.filter(known), 0) - 6;
    const inside = s.log_snr.filter((v) => known(v) && v > deepest);
    const xAxis = state.axis === "t" ? { ...T_AXIS(state.logT), domain: [state.logT ? 0.9 : 0, focus.mapping.T * 1.02] }
      : { ...LOG_SNR, domain: [inside.at(-1), inside[0] + 0.3] };
    const within = (points) => (state.axis === "t" ? points : points.filter((p) => p.x >= xAxis.domain[0] && p.x <= xAxis.domain[1]));
    const visible = (v) => (v >= 1e-3 && v <= 1e4 ? v : null);
    const b = focus.bands;
    legend(list, bandsOf.map((k) => ({ name: name(k), colour: bandColour(k) })));
    lineChart(snr, { label: "Signal to noise of each band", x: xAxis, y: { label: "SNR of the band", log: true, domain: [1e-3, 1e4] },
      lines: [{ y: 1, colour: "var(--ink)" }], series: bandsOf.map((k) => ({ name: name(k), colour: bandColour(k),
        points: within(s.t.map((t, i) => ({ x: state.axis === "t" ? t : s.log_snr[i],
          y: known(s.log_snr[i]) ? visible(Math.exp(s.log_snr[i]) * s.power[k]) : null,
          note: `${step(t)}, log SNR ${known(s.log_snr[i]) ? s.log_snr[i].toFixed(2) : "−∞"}` }))) })) });
    if (b) {
      const side = (c) => (state.axis === "t" ? Math.sqrt(b.edges[c] * (b.edges[c + 1] - 1))
        : (logSnrAt(s, b.edges[c] - 0.5) + logSnrAt(s, b.edges[c + 1] - 0.5)) / 2);
      const per = (c) => (state.axis === "t" ? 1
        : (b.edges[c + 1] - b.edges[c]) / (logSnrAt(s, Math.max(1, b.edges[c] - 0.5)) - logSnrAt(s, Math.min(focus.mapping.T, b.edges[c + 1] - 0.5))));
      const series = bandsOf.map((k) => ({ name: name(k), colour: bandColour(k), points: within(b.values.map((row, c) => ({ x: side(c),
        y: known(row[k]) ? row[k] * per(c) : null, note: `t = ${b.edges[c]}–${b.edges[c + 1] - 1}` }))) }));
      const marks = bandsOf.filter((k) => known(s.drowned_t[k])).map((k) => {
        const x = state.axis === "t" ? s.drowned_t[k] : s.drowned_log_snr[k];
        const near = series[bandsOf.indexOf(k)].points.filter((p) => known(p.y)).reduce((best, p) =>
          (!best || Math.abs(p.x - x) < Math.abs(best.x - x) ? p : best), null);
        return { x, y: near && near.y, colour: bandColour(k), name: `${name(k)} drowns at t = ${s.drowned_t[k].toFixed(1)}` };
      });
      lineChart(costs, { label: "Mean error of each band", x: xAxis,
        y: { label: state.axis === "t" ? `${UNIT} of one step` : `${UNIT} per unit of log SNR`, zero: true }, series, marks });
    } else costs.replaceChildren(el("p", { class: "note" }, "This run has no …-bands.csv."));

    picker.replaceChildren(controls({ at: String(at) }, { at: { label: "t =", options: levels.map((t, i) => [String(i), String(t)]) } }, () => {
      at = Number(picker.querySelector("input:checked").value);
      power();
    }));
    const power = () => {
      const level = focus.mapping.log_snr[at + 1];
      const [signal, noise] = [known(level) ? sigmoid(level) : 0, known(level) ? sigmoid(-level) : 1];
      const points = (value, error) => bandsOf.map((k) => ({ x: k, y: value(k), se: error ? error(k) : null, note: name(k) }));
      const series = [
        { name: "signal α² S", colour: "var(--c0)", dots: true, points: points((k) => signal * s.power[k]) },
        { name: "noise σ²", colour: "var(--soft)", dash: "7 3", points: points(() => noise) },
        { name: "their sum", colour: "var(--c2)", dash: "2 3", points: points((k) => signal * s.power[k] + noise) },
        { name: `measured xₜ of ${commas(focus.mapping.examples)} examples`, colour: "var(--c1)", bare: true, hollow: true,
          bars: true, points: points((k) => s.noised_power[at][k], (k) => s.noised_power_se[at][k]) },
      ];
      legend(parts, series.map((one) => ({ ...one, dots: one.bare })));
      lineChart(spectrum, { label: "Power of a DCT coefficient of x_t", height: 260,
        x: { label: "frequency band  (0 lowest)", ticks: bandsOf }, y: { label: `power at ${step(levels[at])}`, log: true }, series });
    };
    power();

    const paid = (k) => (b ? halfPaid(b, k) : null);
    const apart = (i, k) => !(Math.abs(s.power[i] - s.power[k]) < 2 * Math.hypot(s.power_se[i], s.power_se[k]));
    order.replaceChildren(...sentence(bandsOf, (k) => s.drowned_t[k], "Noise drowns the bands in the order", "never drowned", apart),
      ...(b ? sentence(bandsOf, paid, " Half of each band's cost lies below t in the order", "free") : []));
    place.replaceChildren(table(["band", "coefficients", "power S of one", "drowns at log SNR", "at t", ...(b ? [`mean error, ${UNIT}`, "half of it below t"] : [])],
      bandsOf.map((k) => [name(k), format(s.coefficients[k]), number(focus, `power.${k}`, s.power[k], s.power_se[k]),
        known(s.drowned_log_snr[k]) ? s.drowned_log_snr[k].toFixed(2) : "–",
        known(s.drowned_t[k]) ? el("span", { "data-run": focus.index, "data-key": `drowned.${k}`, "data-value": s.drowned_t[k] },
          s.drowned_t[k].toFixed(1)) : "never", ...(b ? [format(b.sums[k]), known(paid(k)) ? paid(k).toFixed(0) : "–"] : [])])));
  };
  body.insertBefore(controls(state, { axis: { label: "over", options: [["log_snr", "log SNR"], ["t", "t"]] },
    logT: { label: "log t" }, centred: { label: "about the mean picture" } }, draw), list);
  if (many) body.insertBefore(focusSelect(), order);
  return draw;
}

// The bands by rising t, in words, and whether that is from high to low: ≈ between two that their errors do not tell apart.
function sentence(all, t, start, never, apart = () => true) {
  const some = all.filter((k) => known(t(k))).sort((a, b) => t(a) - t(b) || b - a);
  const rest = all.filter((k) => !known(t(k)));
  if (!some.length) return [];
  const swapped = some.map((low, i) => [low, some.slice(i + 1).filter((high) => high > low && apart(low, high))]).filter(([, above]) => above.length);
  return [`${start} `, el("b", {}, some.map((k, i) => (i ? (apart(some[i - 1], k) ? ", " : " ≈ ") : "") + k).join("")),
    ` (t = ${t(some[0]).toFixed(0)} … ${t(some.at(-1)).toFixed(0)}): high before low`,
    swapped.length ? `, but for ${swapped.map(([low, above]) => `${low} before ${above.join(" and ")}`).join(", ")}` : "",
    rest.length ? `; ${never}: ${rest.join(", ")}.` : "."];
}
