// What follows from the ledger: other variances, fewer steps, rate and distortion, frequencies.

function variances(body) {
  const gone = lacking("variances", "No run holds a …-variances.csv.");
  if (gone) return void body.append(gone);
  const names = [...new Set(runs.flatMap((run) => (run.variances ? Object.keys(run.variances.totals) : [])))];
  const cell = (run, name) => {
    const total = run.variances.totals[name];
    if (!known(total)) return "–";
    const gap = total - run.variances.totals.own;
    const se = run.variances.measurement === run.measurement && ((value(run, "variances") || {})[name] || {})[`${KEY}_se`];
    return el("span", {}, number(run, `variance.${name}`, total, se),
      name !== "own" && known(gap) ? el("span", { class: "se" }, ` (${gap >= 0 ? "+" : ""}${format(gap)})`) : null);
  };
  const place = body.appendChild(el("div"));
  body.append(el("h4", {}, "Where each variance pays: its bound minus the best variance's, summed up to t"), focusSelect() || "");
  const list = legendList(body);
  const host = chart("chart-variances", body);
  return () => {
    runTable(place, ["run", ...names], shown("variances").map((run) => [named(run), ...names.map((name) => cell(run, name))]));
    const v = focus.variances;
    if (!v) return void (list.replaceChildren(), host.replaceChildren(el("p", { class: "note" }, "This run has no such table.")));
    const base = v.running.optimal ? "optimal" : Object.keys(v.running)[0];
    const series = Object.keys(v.running).filter((name) => name !== base).map((name) => ({
      name, colour: VARIANCES[name] || "var(--c5)", dash: name === "own" ? null : "7 3",
      points: v.t.map((t, i) => ({ x: t, y: v.running[name][i] - v.running[base][i], note: `up to ${step(t)}` })),
    }));
    legend(list, series);
    lineChart(host, { label: "Bound of each variance minus the best, over t", x: T_AXIS(true), y: { label: UNIT, zero: true },
      series, lines: [{ y: 0, colour: "var(--soft)" }] });
  };
}

function chains(body) {
  const gone = lacking("chains", "No run holds a …-chains.csv.");
  if (gone) return void body.append(gone);
  const state = { even: true, optimal: true, logY: true };
  const list = legendList(body);
  const host = chart("chart-chains", body);
  const place = body.appendChild(el("div"));
  const draw = () => {
    const rows = focus.chains ? focus.chains.rows.filter((row) => state[row.chain] !== false) : [];
    const groups = [...new Set(rows.map((row) => `${row.variance}, ${row.chain} chain`))];
    const series = groups.flatMap((name) => {
      const own = rows.filter((row) => `${row.variance}, ${row.chain} chain` === name).sort((a, b) => a.steps - b.steps);
      const look = { colour: VARIANCES[own[0].variance] || "var(--c5)", dash: own[0].chain === "even" ? "6 4" : null };
      const note = (row) => `K = ${commas(row.steps)}`;
      return [
        { ...look, name, points: own.map((row) => ({ x: row.steps, y: row.claimed, se: row.claimed_se, note: note(row) })) },
        { ...look, name: `${name}, evaluated`, bare: true, hollow: true, bars: true,
          points: own.map((row) => ({ x: row.steps, y: row.evaluated, se: row.evaluated_se, note: note(row) })) },
      ];
    });
    const kept = series.filter((one) => one.points.some((point) => known(point.y)));
    legend(list, [...kept.filter((one) => !one.bare),
      ...(kept.some((one) => one.bare) ? [{ name: "evaluated in K steps", colour: "var(--soft)", dots: true }] : [])]);
    lineChart(host, { label: "The bound over the number of steps", x: { label: "steps K", log: true },
      y: { label: UNIT, log: state.logY, span: 300 }, series: kept });
    const cells = (row) => [String(row.steps), row.chain, row.variance, plusMinus(row.claimed, row.claimed_se),
      plusMinus(row.evaluated, row.evaluated_se), plusMinus(row.difference, row.difference_se), row.times];
    place.replaceChildren(folded(`All ${rows.length} chains`,
      table(["K", "chain", "variance", "from the ledger", "evaluated", "difference", "levels t"], rows.map(cells))));
  };
  body.insertBefore(controls(state, { even: { label: "evenly spaced (dashed)" }, optimal: { label: "optimal chain (solid)" },
    logY: { label: "log y" } }, draw), list);
  if (many) body.insertBefore(focusSelect(), list);
  return draw;
}

function rate(body) {
  const gone = lacking("rate_distortion", "No run holds a …-rate_distortion.csv.");
  if (gone) return void body.append(gone);
  const wild = (r) => Math.max(...r.distortion.filter(known)) > 20 * r.distortion.filter(known).sort((a, b) =>
    a - b)[Math.floor(r.distortion.length / 2)];
  const state = { what: "curve", logY: runs.some((run) => run.rate_distortion
    && wild(run.rate_distortion)) };  // an eps network's x̂₀ at pure noise
  const list = legendList(body);
  const host = chart("chart-rate", body);
  const place = body.appendChild(el("div"));
  const error = `distortion, rms ${KEY === "bpd" ? "(levels)" : "(data units)"}`;
  const draw = () => {
    const series = drawn("rate_distortion").map((run) => {
      const r = run.rate_distortion;
      const points = r.t.map((t, i) => {
        if (state.what === "curve") return { x: r.rate[i], y: r.distortion[i],
          note: `${step(t)}, rate ${plusMinus(r.rate[i], r.rate_se[i])}` };
        return state.what === "rate" ? { x: r.T - t, y: r.rate[i], se: r.rate_se[i], note: step(t) }
          : { x: r.T - t, y: r.distortion[i], note: step(t) };
      });
      return { name: many ? run.label : state.what === "rate" ? "rate" : "distortion", colour: run.colour, dash: run.dash, points };
    });
    legend(list, runLegend("rate_distortion"));
    const reverse = { label: "reverse steps done, T − t" };
    lineChart(host, {
      label: "Rate and distortion", x: state.what === "curve" ? { label: `rate (${UNIT})` } : reverse,
        y: { label: state.what === "rate" ? `rate (${UNIT})` : error, log: state.logY, zero: true }, series,
    });
    const all = shown("rate_distortion").length > CROWD ? shown("rate_distortion").filter((run) => run === focus) : shown("rate_distortion");
    const cells = (run, i) => {
      const r = run.rate_distortion.tenths;
      if (!(i in r.t)) return ["–", "–", "–"];
      return [format(r.reverse_steps[i]), el("span",
        { "data-run": run.index, "data-key": `rate.${r.t[i]}`, "data-value": r.rate[i] }, plusMinus(r.rate[i], r.rate_se[i])),
        format(r.distortion[i])];
    };
    const most = Math.max(0, ...all.map((run) => run.rate_distortion.tenths.t.length));
    const head = (run) => ["steps", `${many ? `${run.label}: ` : ""}rate (${UNIT})`, error];
    place.replaceChildren(el("h4", {}, "In tenths of the chain, the shape of DDPM's table 4 (the last row ends at t = 1; the decoder is not in it)"),
      table(["chain done", ...all.flatMap(head)], Array.from({ length: most },
        (_, i) => [`${Math.round((100 * (i + 1)) / most)}%`, ...all.flatMap((run) => cells(run, i))])));
  };
  body.insertBefore(controls(state, { what: { label: "show",
    options: [["curve", "distortion over rate"], ["rate", "rate over steps"], ["distortion", "distortion over steps"]] },
    logY: { label: "log y" } }, draw), list);
  return draw;
}

function bands(body) {
  const gone = lacking("bands", "No run holds a …-bands.csv (frequencies are defined for pictures only).");
  if (gone) return void body.append(gone);
  body.append(focusSelect() || "");
  const map = chart("chart-bands", body);
  body.append(el("h4", {}, "Sum over t of each band"));
  const list = legendList(body);
  const sums = chart("chart-band-sums", body);
  const place = body.appendChild(el("div"));
  const name = (k) => (k === 0 ? "0 lowest" : k === 7 ? "7 highest" : String(k));
  return () => {
    const b = focus.bands;
    if (b) {
      const span = (c) => (b.edges[c + 1] - b.edges[c] > 1 ? `${step(b.edges[c])}–${b.edges[c + 1] - 1}` : step(b.edges[c]));
      heatmap(map, {
        label: "Mean error over t and frequency", legend: UNIT, x: { ...T_AXIS(true), edges: b.edges.map((edge) => edge - 0.5) },
        y: { label: "frequency band", edges: [0, 1, 2, 3, 4, 5, 6, 7, 8], ticks: [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5],
          names: (at) => String(Math.floor(at)) },
        values: b.values[0].map((_, k) => b.values.map((row) => row[k])),
        describe: (c, k) => [{ text: `${span(c)}, band ${name(k)}`, bold: true },
          { text: `${plusMinus(b.values[c][k], b.se[c][k])} ${UNIT} of one step` }],
      });
    } else map.replaceChildren(el("p", { class: "note" }, "This run has no such table."));
    const series = drawn("bands").map((run) => ({ name: many ? run.label : "mean error", colour: run.colour, dash: run.dash, dots: true,
      points: run.bands.sums.map((y, k) => ({ x: k, y, note: `band ${name(k)}` })) }));
    legend(list, runLegend("bands"));
    lineChart(sums, { label: "Mean error of each frequency band",
      x: { label: "frequency band  (0 lowest)", ticks: [0, 1, 2, 3, 4, 5, 6, 7] }, y: { label: UNIT, zero: true }, series,
      height: 240 });
    runTable(place, ["run", ...Array.from({ length: 8 }, (_, k) => name(k)), "sum"],
      shown("bands").map((run) => [named(run), ...run.bands.sums.map((v, k) => number(run, `band.${k}`, v)),
      format(run.bands.sums.reduce((a, v) => a + v, 0))]));
  };
}
