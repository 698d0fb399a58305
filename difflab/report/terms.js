// The bound itself: the headline, the ranking, the terms over t, over log SNR and over training.

// -- headline -----------------------------------------------------------------------------------------------------------

function headline() {
  const best = runs[0];
  main.append(el("h1", {}, many ? `${runs.length} runs, side by side` : best.name));
  if (!runs.some((run) => run.result)) {
    main.append(el("p", { class: "note" }, "None of these runs holds a measurement of the bound."));
    return;
  }
  const r = best.result;
  if (many) main.append(el("p", { class: "lead" }, "Best: ", el("b", {}, best.name)));
  main.append(el("div", { class: "headline" },
    el("span", { class: "value", id: "bound", "data-key": KEY, "data-value": r[KEY] }, format(r[KEY])),
    el("span", { class: "se", id: "bound-se", "data-value": r[`${KEY}_se`] }, `± ${format(r[`${KEY}_se`])} ${UNIT}`)));
  main.append(el("p", { class: "lead" }, ...math("The bound on −log p(x): L = L_T + Σ Lₜ₋₁ + L₀. ± is one standard error over examples; it says nothing of another seed's training.")));
  const facts = {
    "L_T, prior KL": measured(best, "prior_kl"), "Σ Lₜ₋₁, transitions": measured(best, "transition_kl"),
      "L₀, decoder": measured(best, "decoder_nll"),
    ...Object.fromEntries(spaceTerms([best]).map((name) => [`x → z, ${words(name)}`, measured(best, name)])),
    "mean error": measured(best, "mean_error"), "variance mismatch": measured(best, "variance_mismatch"),
    "with the best variance": measured(best, `${KEY}_optimal_variance`),
  };
  for (const mode of ["clipped", "unclipped"]) if (r[mode]) facts[`with x̂₀ ${mode}`] = number(best, `${mode}.${KEY}`,
    r[mode][KEY], r[mode][`${KEY}_se`]);
  Object.assign(facts, { "examples (N)": plain(best, "examples"), "network evaluations": plain(best, "nfe"),
    "chain length (T)": plain(best, "T"), unit: UNIT });
  main.append(el("dl", { class: "facts" }, ...Object.entries(facts).map(([name, content]) =>
    el("div", {}, el("dt", {}, ...math(name)), el("dd", {}, content)))));
  const floors = Object.entries(r.floors || {}).filter(([, v]) => known(v)).sort((a, b) => a[1] - b[1]);
  const lowest = floors.find(([name]) => name !== "entropy");
  if (lowest) {
    const side = r[KEY] < lowest[1] ? "below" : "above";
    main.append(el("p", { class: "note" }, `Sanity floors: ${floors.map(([name, v]) => `${name} ${format(v)}`).join(", ")}. The bound is ${format(Math.abs(r[KEY] - lowest[1]))} ${side} the best of them (${lowest[0]})${floors[0][0] === "entropy" ? "; no model is below the entropy" : ""}.`));
  }
}
const plain = (run, name) => (known(value(run, name))
  ? el("span", { "data-run": run.index, "data-key": name, "data-value": value(run, name) }, format(value(run, name))) : "–");

function ranking(body) {
  const space = spaceTerms(runs);
  const place = body.appendChild(el("div"));
  const head = ["run", UNIT, "minus the best, paired", "L_T", "Σ Lₜ₋₁", "L₀", ...space.map((name) => `x → z, ${words(name)}`), "best variance"];
  const row = (run) => [named(run), measured(run, KEY), difference(run),
    ...["prior_kl", "transition_kl", "decoder_nll", ...space, `${KEY}_optimal_variance`].map((name) => measured(run, name))];
  return () => runTable(place, head, (runs.length > CROWD ? shown() : runs).map(row));
}

// What the spaces of some runs add to the bound, where their chains are not over the data.
function spaceTerms(some) {
  const names = some.flatMap((run) => Object.keys(run.result || {}));
  return [...new Set(names.filter((name) => /^space_/.test(name) && !/_(se|se_between|se_noise|seconds)$/.test(name)))];
}
const words = (name) => name.replace(/^space_/, "").replaceAll("_", " ");

function difference(run) {
  const d = run.difference;
  if (run.index === 0) return "best";
  if (!d || d.why) return (d && d.why) || "–";
  return el("span", { "data-run": run.index, "data-key": "difference", "data-value": d.mean, "data-se": d.se,
    title: `${d.examples} common examples` },
    `${d.mean >= 0 ? "+" : ""}${format(d.mean)}`, el("span", { class: "se" },
      ` [${format(d.low)}, ${format(d.high)}]${d.significant ? " *" : ""}`));
}

// -- the bound over t ---------------------------------------------------------------------------------------------------

const PARTS = { value: ["Lₜ₋₁", null, "var(--c0)"], mean_error: ["mean error", "7 3", "var(--c4)"],
  variance_mismatch: ["variance mismatch", "2 3", "var(--c2)"] };

function pools(run, part, axis, per) {
  const c = run.curve;
  return c.first.map((first, i) => {
    const width = per === "step" ? c.last[i] - first + 1 : c.log_snr_s[i] - c.log_snr_t[i];
    const whole = known(c.log_snr_s[i]) && known(c.log_snr_t[i]);
    const middle = whole ? (c.log_snr_s[i] + c.log_snr_t[i]) / 2 : null;
    const span = first === c.last[i] ? step(first) : `${step(first)}–${commas(c.last[i])}`;
    return {
      x: axis === "t" ? Math.sqrt(first * c.last[i]) : middle,
      y: per === "step" || whole ? c[part][i] / width : null,
      se: part === "value" && known(c.se[i]) ? c.se[i] / width : null,
      note: `${span}${known(middle) ? `, log SNR ${middle.toFixed(2)}` : ""}, ${commas(c.count[i])} draws`,
    };
  });
}

function partSeries(state, per) {
  const parts = Object.keys(PARTS).filter((part) => state[part]);
  return drawn("curve").flatMap((run) => parts.map((part) => {
    const [name, dash, own] = PARTS[part];
    const points = pools(run, part, state.axis, per);
    const bare = state.band ? points : points.map((point) => ({ ...point, se: null }));
    return { name: many ? `${run.label}, ${name}` : name, colour: many ? run.colour : own, dash: dash || run.dash, points: bare,
      dots: points.length <= 40 };
  }));
}
const partLegend = (state) => Object.keys(PARTS).filter((part) =>
  state[part]).map((part) => ({ name: PARTS[part][0], dash: PARTS[part][1], colour: many ? "var(--soft)" : PARTS[part][2] }));
const pooledNote = () => {
  const largest = Math.max(1, ...drawn("curve").map((run) => run.curve.largest));
  return largest > 1 ? `Neighbouring t are pooled until a point rests on at least 8 draws and a curve has few enough points for this page (here up to ${largest} t); a value is the mean of a step.` : "";
};

function perT(body) {
  const state = { axis: "t", logT: true, logY: true, value: true, mean_error: !many, variance_mismatch: !many, band: true };
  const list = legendList(body);
  const host = chart("chart-per-t", body);
  const note = body.appendChild(el("p", { class: "note" }));
  const draw = () => {
    legend(list, [...runLegend("curve"), ...partLegend(state),
      { name: "L₀ (circle), L_T (diamond), ▼ below the axis", colour: "var(--c1)", dots: true }]);
    const marks = drawn("curve").flatMap((run) => {
      const { curve, label: name } = run;
      const [first, last] = state.axis === "t" ? [1, curve.T] : [curve.log_snr_s[0], curve.log_snr_t.at(-1)];
      const mark = (at, [y, se], term, extra) => ({ x: at, y, se, name: `${many ? `${name}, ` : ""}${term} = ${plusMinus(y, se)}`,
        ...extra });
      return [mark(first, curve.decoder_nll, "L₀", { colour: many ? run.colour : "var(--c1)" }),
        mark(last, curve.prior_kl, "L_T", { colour: many ? run.colour : "var(--c3)", square: true })];
    });
    const x = state.axis === "t" ? T_AXIS(state.logT) : LOG_SNR;
    lineChart(host, { label: "The bound term by term", x, y: { label: `${UNIT} of one step`, log: state.logY, zero: true },
      series: partSeries(state, "step"), marks });
    note.textContent = pooledNote();
  };
  body.insertBefore(controls(state, {
    axis: { label: "over", options: [["t", "t"], ["log_snr", "log SNR"]] }, logT: { label: "log t" }, logY: { label: "log y" },
    value: { label: "Lₜ₋₁" }, mean_error: { label: "mean error" }, variance_mismatch: { label: "variance mismatch" },
      band: { label: "± se" },
  }, draw), list);
  return draw;
}

function cumulative(body) {
  const state = { axis: "t", logT: true };
  const list = legendList(body);
  const host = chart("chart-cumulative", body);
  const draw = () => {
    legend(list, [...runLegend("running"), { name: "the whole bound (with L_T)", dash: "3 3", colour: "var(--soft)" }]);
    const series = drawn("running").map((run) => ({
      name: many ? run.label : "sum up to t", colour: run.colour, dash: run.dash, dots: run.running.t.length <= 40,
      points: run.running.t.map((t, i) => ({ x: state.axis === "t" ? t : run.running.log_snr[i], y: run.running.value[i],
        se: run.running.se[i], note: `${step(t)}${known(run.running.log_snr[i]) ? `, log SNR ${run.running.log_snr[i].toFixed(2)}` : ""}` })),
    }));
    const lines = drawn("running").map((run) => ({ y: value(run, KEY), colour: many ? run.colour : "var(--soft)" }));
    lineChart(host, { label: "The bound as it adds up", x: state.axis === "t" ? T_AXIS(state.logT) : LOG_SNR,
      y: { label: `sum up to t (${UNIT})`, zero: true }, series, lines });
  };
  body.insertBefore(controls(state, { axis: { label: "over", options: [["t", "t"], ["log_snr", "log SNR"]] },
    logT: { label: "log t" } }, draw), list);
  return draw;
}

function density(body) {
  const state = { axis: "log_snr", logY: false, value: true, mean_error: !many, variance_mismatch: !many, band: true };
  const list = legendList(body);
  const host = chart("chart-density", body);
  const draw = () => {
    legend(list, [...runLegend("curve"), ...partLegend(state)]);
    lineChart(host, { label: "Bits per unit of log SNR", x: LOG_SNR,
      y: { label: `${UNIT} per unit of log SNR`, log: state.logY, zero: true }, series: partSeries(state, "log_snr") });
  };
  body.insertBefore(controls(state, { logY: { label: "log y" }, value: { label: "Lₜ₋₁" }, mean_error: { label: "mean error" },
    variance_mismatch: { label: "variance mismatch" }, band: { label: "± se" } }, draw), list);
  return draw;
}

// -- over training --------------------------------------------------------------------------------------------------------

function overTraining(body) {
  const gone = runs.some((run) => run.heat) ? null : el("p", { class: "note" },
    "No run holds bound/val_step_*.csv: trainer.val_every sets how often a training is validated.");
  body.append(gone || "", focusSelect() || "");
  if (gone) return null;
  const map = chart("chart-heat", body);
  const title = body.appendChild(el("h4"));
  const list = legendList(body);
  const host = chart("chart-heat-step", body);
  let picked = null;
  let of = null;
  const draw = () => {
    const heat = focus.heat;
    if (!heat) {
      for (const node of [map, host, list, title]) node.replaceChildren();
      map.append(el("p", { class: "note" }, "This run holds no validations."));
      return;
    }
    if (of !== focus) [picked, of] = [heat.steps.length - 1, focus];
    const span = (r) => (heat.edges[r + 1] - heat.edges[r] > 1 ? `${step(heat.edges[r])}–${heat.edges[r + 1] - 1}`
      : step(heat.edges[r]));
    const sides = [Math.min(0, heat.steps[0] - 1), ...heat.steps];
    const between = heat.edges.map((edge) => (edge > 1 ? edge - 0.5 : 0.7));
    heatmap(map, {
      label: "The bound over t and training step; enter picks a step", legend: UNIT, picked,
      x: { label: "training step  (a cell ends at its validation)", edges: sides },
        y: { label: "t  (bottom row: L₀)", log: true, edges: between },
      values: heat.edges.slice(0, -1).map((_, r) => heat.values.map((column) => column[r])),
      describe: (c, r) => [{ text: `step ${commas(heat.steps[c])}, ${span(r)}`, bold: true },
        { text: `${format(heat.values[c][r])} ${UNIT} of one step` }],
      pick: (c) => { picked = c; draw(); },
    });
    title.textContent = `Step ${commas(heat.steps[picked])}, term by term`;
    const points = (values) => values.map((y, r) => ({ x: Math.sqrt(heat.edges[r] * (heat.edges[r + 1] - 1)), y,
      note: span(r) }));
    const last = heat.steps.length - 1;
    const series = [{ name: `validation at step ${heat.steps[picked]}`, colour: "var(--c0)",
      points: points(heat.values[picked]) }];
    if (heat.training[picked]) series.push({ name: "the training steps before it", colour: "var(--c1)", dash: "7 3", thin: true,
      points: points(heat.training[picked]) });
    if (picked !== last) series.push({ name: `validation at the end, step ${heat.steps[last]}`, colour: "var(--c6)", dash: "2 3",
      points: points(heat.values[last]) });
    legend(list, series);
    lineChart(host, { label: "One validation, term by term", x: T_AXIS(true), y: { label: `${UNIT} of one step`, log: true },
      series, height: 280 });
    host.dataset.step = heat.steps[picked];
  };
  return draw;
}

// Lines over the training step: what of a run's `training` is drawn, for each choice [column, label, columns of validations].
function overSteps(body, id, choices, logY) {
  const state = { what: Object.keys(choices)[0], logY };
  const list = legendList(body);
  const host = chart(id, body);
  const note = body.appendChild(el("p", { class: "note" }));
  const draw = () => {
    const { train, val, label } = choices[state.what];
    const series = drawn("training").flatMap((run) => {
      const { training } = run;
      const prefix = many ? `${run.label}, ` : "";
      const at = (row) => `step ${commas(row[0])}`;
      const look = { colour: run.colour, dash: run.dash };
      return [
        train && { ...look, name: `${prefix}training steps`, thin: true, points: training.train.map((row, i) => ({ x: row[0], y: row[train],
          se: training.trainSpread ? training.trainSpread[i][train] : null, note: at(row) })) },
        val && { ...look, name: `${prefix}validation`, dots: true, bars: true, points: training.val.map((row, i) => ({ x: row[0], y: row[val],
          se: training.valSpread ? training.valSpread[i][val] : val === 1 ? row[2] : null, note: at(row) })) },
      ].filter(Boolean);
    });
    legend(list, [...runLegend("training"), ...(train ? [{ name: "training steps (thin)", colour: "var(--soft)" }] : []),
      ...(val ? [{ name: "validation", colour: "var(--soft)", dots: true }] : [])]);
    lineChart(host, { label, x: { label: "training step" }, y: { label, log: state.logY }, series });
    const pooled = Math.max(1, ...drawn("training").map((run) => run.training.pooled));
    note.textContent = train && pooled > 1 ? `To keep this page small a point of the training steps is the mean of up to ${pooled} logged rows; metrics.jsonl holds them all.` : "";
  };
  body.insertBefore(controls(state, { ...(Object.keys(choices).length > 1 ? { what: { label: "show",
    options: Object.entries(choices).map(([key, { text }]) => [key, text]) } } : {}), logY: { label: "log y" } }, draw), list);
  return draw;
}

const training = (body) => overSteps(body, "chart-training", {
  bound: { train: 1, val: 1, label: UNIT, text: "bound" }, loss: { train: 2, label: "loss, in the objective's units", text: "loss" },
  lr: { train: 3, label: "learning rate", text: "learning rate" }, norm: { train: 4, label: "gradient norm", text: "gradient norm" } }, false);

const varianceParts = (body) => overSteps(body, "chart-variance-parts", {
  mean_error: { val: 4, label: `mean error (${UNIT})`, text: "mean error" },
  variance_mismatch: { val: 5, label: `variance mismatch (${UNIT})`, text: "variance mismatch" },
  optimal: { val: 3, label: `bound with the best isotropic variance (${UNIT})`, text: "with the best variance" } }, true);

const COSTS = { train_seconds: "training (s)", validate_seconds: "validation (s)", evaluate_seconds: "measurement (s)", space_seconds: "space (s)",
  nfe: "network evaluations", parameters: "parameters" };
function speed(body) {
  const draw = overSteps(body, "chart-speed", { images: { train: 5, label: "examples a second", text: "examples a second" },
    memory: { train: 6, label: "memory (GB)", text: "memory" } }, false);
  const place = body.appendChild(el("div"));
  return () => {
    draw();
    const all = shown("result");
    const used = Object.keys(COSTS).filter((name) => all.some((run) => known(value(run, name))));
    runTable(place, ["run", ...used.map((name) => COSTS[name])], all.map((run) => [named(run), ...used.map((name) => format(value(run, name)))]));
  };
}

// Means over runs that agree in the factors of the view; with nothing but seeds left in a group, what another seed may change.
function grouping(body) {
  const place = body.appendChild(el("div"));
  return () => {
    const space = spaceTerms(shown());
    const terms = [KEY, "prior_kl", "transition_kl", "decoder_nll", ...space, `${KEY}_optimal_variance`];
    const cell = (group, name) => {
      const values = group.members.map((run) => value(run, name)).filter(known);
      return values.length ? el("span", { "data-group": group.name, "data-key": `mean.${name}`, "data-value": meanOf(values) },
        format(meanOf(values)), values.length > 1 ? el("span", { class: "se" }, ` ± ${format(sdOf(values))}`) : null) : "–";
    };
    const mean = (group) => meanOf(group.members.map((run) => value(run, KEY)));
    const all = groups(shown("result")).sort((a, b) => mean(a) - mean(b));
    body.hidden = all.every((group) => group.members.length === 1);
    place.replaceChildren(table(["group", "runs", `${UNIT}, mean ± sd`, "L_T", "Σ Lₜ₋₁", "L₀", ...space.map((name) => `x → z, ${words(name)}`), "best variance"],
      all.map((group) => [el("span", { class: "named" }, swatch(group.members[0].colour), el("span", {}, group.name)), String(group.members.length),
        ...terms.map((name) => cell(group, name))])));
  };
}

function spaces(body) {
  const terms = spaceTerms(runs);
  const place = body.appendChild(el("div"));
  return () => runTable(place, ["run", ...terms.map((name) => `x → z, ${words(name)}`), "without the chain", "what the chain gains"],
    shown("result").filter((run) => terms.some((name) => known(value(run, name)))).map((run) => [named(run),
      ...[...terms, `${KEY}_without_chain`, "chain_gain"].map((name) => measured(run, name))]));
}
