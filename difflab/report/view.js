// Which runs are shown, what colours them, and whether runs that agree in their choices are drawn as one line: their mean,
// with the standard deviation between them as its band.

const FACTORS = report.factors;
const COLOURS = 7;
const DASHES = [null, "7 3", "2 3", "9 3 2 3", "14 4", "1 5"];
const CROWD = 6; // more runs than this are not shown one by one
const view = { grouped: false, by: new Set(FACTORS.map((one) => one.name).filter((name) => name !== "seed")), colour: "", text: "",
  hidden: new Map(FACTORS.map((one) => [one.name, new Set()])) };

const chosen = (run) => run.shown && run.name.toLowerCase().includes(view.text.toLowerCase())
  && FACTORS.every(({ name }) => !view.hidden.get(name).has(run.factors[name]));
const shown = (kind) => runs.filter((run) => chosen(run) && (!kind || run[kind]));
const cell = (run) => [...view.by].map((name) => run.factors[name]).join("\u0000");
const title = (run) => [...view.by].map((name) => (/^[a-z]/i.test(run.factors[name]) ? run.factors[name] : `${name}=${run.factors[name]}`)).join(" · ");

// Runs that agree in the factors of view.by, in the order of their best.
function groups(some) {
  const found = new Map();
  for (const run of some) found.set(cell(run), [...(found.get(cell(run)) || []), run]);
  return [...found.values()].map((members) => ({ members, key: cell(members[0]), index: members[0].index,
    name: title(members[0]) || "all runs", label: clipped(`${title(members[0]) || "all runs"} (${members.length})`) }));
}

// What a chart draws of a kind: the runs, or their groups with the mean of the kind; where that cannot be formed, the runs.
function drawn(kind) {
  if (!view.grouped) return shown(kind);
  return groups(shown(kind)).flatMap((group) => {
    const [first] = group.members;
    const mean = MEANS[kind](group.members.map((run) => run[kind]));
    if (!mean) return group.members;
    const bounds = group.members.map((run) => value(run, KEY));
    return [{ ...group, colour: first.colour, dash: first.dash, [kind]: mean,
      result: bounds.every(known) ? { [KEY]: meanOf(bounds) } : null }];
  });
}

// Each line's colour: its factor's level, or its own; lines that share one are told apart by their dashes.
function paint() {
  const levels = new Map((FACTORS.find((one) => one.name === view.colour) || { levels: [] }).levels.map((level, i) => [level, i]));
  const own = (run, i) => (view.colour ? levels.get(run.factors[view.colour]) : i) % COLOURS;
  const used = new Map();
  const next = (colour) => { const n = used.get(colour) || 0; used.set(colour, n + 1); return DASHES[n % DASHES.length]; };
  const paintOne = (members, i) => {
    const colour = own(members[0], i);
    const dash = many && (view.grouped || view.colour || runs.length > COLOURS) ? next(colour) : null;
    for (const run of members) Object.assign(run, { colour: `var(--c${colour})`, dash });
  };
  if (view.grouped) groups(shown()).forEach((group, i) => paintOne(group.members, i));
  else (view.colour ? shown() : runs).forEach((run, i) => paintOne([run], i));
}

const SPREAD = { name: "band: ± one standard deviation between the runs of a group", colour: "var(--soft)" };
function runLegend(kind) {
  if (!many) return [];
  const all = drawn(kind);
  const entries = all.length <= 20 || !view.colour ? all.slice(0, 20).map((one) => ({ name: one.label, colour: one.colour, dash: one.dash })) : [];
  if (all.length > 20) {
    const factor = FACTORS.find((one) => one.name === view.colour);
    entries.push(...(factor ? factor.levels.map((level, i) => ({ name: `${factor.name}=${level}`, colour: `var(--c${i % COLOURS})` }))
      : [{ name: `and ${all.length - 20} more: group or filter them under View`, colour: "var(--soft)" }]));
  }
  return view.grouped && all.some((one) => one.members && one.members.length > 1) ? [...entries, SPREAD] : entries;
}

// -- means ------------------------------------------------------------------------------------------------------------

const meanOf = (values) => values.reduce((a, b) => a + b, 0) / values.length;
function sdOf(values) {
  if (values.length < 2) return null;
  const mean = meanOf(values);
  return Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (values.length - 1));
}
const whole = (values) => values.every(known);
const average = (values) => (whole(values) ? meanOf(values) : null);
const deviation = (values) => (whole(values) ? sdOf(values) : null);
const equal = (a, b) => a.length === b.length && a.every((v, i) => v === b[i]);
const agree = (values) => (whole(values) && Math.max(...values) - Math.min(...values) <= 1e-4 * (1 + Math.abs(values[0])) ? values[0] : null);

const MEANS = {
  // Pools hold sums, so runs that were pooled differently are added up to the borders that all of them have.
  curve(all) {
    if (all.length === 1) return all[0];
    if (new Set(all.map((c) => `${c.T} ${c.first[0]}`)).size > 1) return null;
    const ends = all[0].last.filter((t) => all.every((c) => c.last.includes(t)));
    if (ends.length < Math.min(8, all[0].last.length) || ends.at(-1) !== Math.max(...all.map((c) => c.last.at(-1)))) return null;
    const bins = all.map((c) => {
      const rows = ends.map(() => []);
      let bin = 0;
      c.last.forEach((t, i) => { rows[bin].push(i); if (t === ends[bin]) bin++; });
      return rows;
    });
    const sums = (name, i) => all.map((c, k) => bins[k][i].reduce((sum, j) => sum + c[name][j], 0));
    const column = (name, how) => ends.map((_, i) => how(sums(name, i)));
    const end = (name) => [average(all.map((c) => c[name][0])), deviation(all.map((c) => c[name][0]))];
    return {
      first: ends.map((_, i) => (i ? ends[i - 1] + 1 : all[0].first[0])), last: ends, T: all[0].T,
      count: ends.map((_, i) => sums("count", i).reduce((a, b) => a + b, 0)), largest: Math.max(...all.map((c) => c.largest)),
      value: column("value", average), se: column("value", deviation), mean_error: column("mean_error", average),
      variance_mismatch: column("variance_mismatch", average), decoder_nll: end("decoder_nll"), prior_kl: end("prior_kl"),
      log_snr_s: ends.map((_, i) => agree(all.map((c, k) => c.log_snr_s[bins[k][i][0]]))),
      log_snr_t: ends.map((_, i) => agree(all.map((c, k) => c.log_snr_t[bins[k][i].at(-1)]))),
    };
  },
  running(all) {
    if (all.length === 1 || !all.every((one) => equal(one.t, all[0].t))) return all.length === 1 ? all[0] : null;
    const at = (name, i) => all.map((one) => one[name][i]);
    return { t: all[0].t, log_snr: all[0].t.map((_, i) => agree(at("log_snr", i))), value: all[0].t.map((_, i) => average(at("value", i))),
      se: all[0].t.map((_, i) => deviation(at("value", i))) };
  },
  // Rows begin with their step; those that all runs have. `spread` holds the deviations of the columns.
  training(all) {
    if (all.length === 1) return all[0];
    const over = (name) => {
      const rows = all.map((one) => new Map(one[name].map((row) => [row[0], row])));
      const steps = [...rows[0].keys()].filter((at) => rows.every((own) => own.has(at)));
      const columns = (at, how) => rows[0].get(at).map((_, i) => (i ? how(rows.map((own) => own.get(at)[i])) : at));
      return [steps.map((at) => columns(at, average)), steps.map((at) => columns(at, deviation))];
    };
    const [[train, trainSpread], [val, valSpread]] = [over("train"), over("val")];
    if (!train.length && !val.length) return null;
    return { train, val, trainSpread, valSpread, pooled: Math.max(...all.map((one) => one.pooled)) };
  },
  rate_distortion(all) {
    if (all.length === 1 || !all.every((one) => equal(one.t, all[0].t))) return all.length === 1 ? all[0] : null;
    const column = (name, how) => all[0].t.map((_, i) => how(all.map((one) => one[name][i])));
    return { ...all[0], rate: column("rate", average), rate_se: column("rate", deviation), distortion: column("distortion", average) };
  },
  bands: (all) => (all.length === 1 ? all[0] : { sums: all[0].sums.map((_, k) => average(all.map((one) => one.sums[k]))) }),
};

// -- controls ---------------------------------------------------------------------------------------------------------

function viewing() {
  const menu = document.getElementById("view");
  menu.hidden = !many;
  if (!many) return;
  const place = document.getElementById("viewing");
  const set = (change) => { change(); update(); };
  const radio = (name, text, grouped) => {
    const input = el("input", { type: "radio", name: "grouped", value: name, onchange: () => set(() => { view.grouped = grouped; }) });
    input.checked = view.grouped === grouped;
    return el("label", {}, input, text);
  };
  const check = (name, text, on, change) => {
    const input = el("input", { type: "checkbox", name, value: text, onchange: () => set(() => change(input.checked)) });
    input.checked = on;
    return el("label", {}, input, text);
  };
  const pick = el("select", { id: "colour", "aria-label": "Colour by", onchange: () => set(() => { view.colour = pick.value; }) },
    el("option", { value: "" }, "each line its own"), ...FACTORS.map((one) => el("option", { value: one.name }, one.name)));
  pick.value = view.colour;
  const find = el("input", { type: "search", id: "find", placeholder: "part of a name", "aria-label": "Runs whose name holds",
    oninput: () => set(() => { view.text = find.value; }) });
  const all = (on) => set(() => {
    for (const run of runs) run.shown = on;
    for (const input of document.querySelectorAll("#runs input")) input.checked = on;
  });
  const rows = [
    el("fieldset", {}, el("legend", {}, "Draw"), radio("runs", "each run", false), radio("means", "means of groups", true)),
    FACTORS.length ? el("fieldset", { id: "by" }, el("legend", {}, "A group agrees in"), ...FACTORS.map(({ name }) =>
      check(name, name, view.by.has(name), (on) => { if (on) view.by.add(name); else view.by.delete(name); }))) : null,
    el("fieldset", {}, el("legend", {}, "Colour by"), pick),
    ...FACTORS.filter((one) => one.levels.length <= 24).map(({ name, levels }) => el("fieldset", { class: "levels" }, el("legend", {}, `Only ${name}`),
      ...levels.map((level) => check(name, level, true, (on) => { if (on) view.hidden.get(name).delete(level); else view.hidden.get(name).add(level); })))),
    el("fieldset", {}, el("legend", {}, "Runs"), find, el("button", { type: "button", onclick: () => all(true) }, "all"),
      el("button", { type: "button", onclick: () => all(false) }, "none")),
  ];
  place.replaceChildren(...rows.filter(Boolean));
}

// A page of many begins with everything on it, grouped where that makes fewer lines.
function first() {
  if (runs.length <= CROWD) return;
  for (const run of runs) run.shown = true;
  view.grouped = groups(runs).length < runs.length;
  if ((view.grouped ? groups(runs) : runs).length > COLOURS && FACTORS.length) view.colour = FACTORS[0].name;
}
first();
