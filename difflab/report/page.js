// The rest of a run, and the page as a whole: its sections in the order in which they are read.

const code = (text) => el("code", {}, text ?? "–");

function samples(body) {
  const place = body.appendChild(el("div"));
  const picture = (run, one) => el("figure", { class: one.step === null ? "final" : null },
    "text" in one ? el("pre", {}, one.text) : el("img", { src: one.src, onload: (event) => event.target.classList.toggle("wide",
      event.target.naturalWidth > 1.4 * event.target.naturalHeight),
      alt: one.step === null ? `Final samples of ${run.name}` : `Samples of ${run.name} at step ${one.step}` }),
    el("figcaption", {}, one.step === null ? "final, the full chain" : `step ${commas(one.step)}`));
  return () => {
    const all = shown().filter((run) => run.samples.length);
    if (all.length > CROWD) {  // side by side: the last of each run
      const last = (run) => run.samples.find((one) => one.step === null) || run.samples.at(-1);
      const one = (run, name) => {
        const figure = picture(run, last(run));
        figure.lastChild.replaceChildren(el("span", { class: "named" }, swatch(run.colour), el("span", {}, name)));
        return figure;
      };
      const figures = view.grouped ? groups(all).map((group) => one(group.members[0], `${group.name}, best of ${group.members.length}`))
        : all.map((run) => one(run, run.name));
      place.replaceChildren(el("div", { class: "pictures many" }, ...figures), el("p", { class: "note" },
        `The last picture of each run${view.grouped ? " that is the best of its group" : ""}; of at most ${CROWD} runs all pictures are shown.`));
      return;
    }
    place.replaceChildren(...all.flatMap((run) => [many ? el("h4", {}, named(run)) : null,
      el("div", { class: "pictures" }, ...run.samples.map((one) => picture(run, one)))]).filter(Boolean));
    if (!all.length) place.append(el("p", { class: "note" }, "No pictures: ",
      el("code", {}, `python -m difflab task=sample run=${focus.directory}`), " draws some."));
  };
}

function configuration(body) {
  const place = body.appendChild(el("div"));
  return () => {
    const all = shown();
    const crowd = all.length > CROWD;
    const keys = [...new Set(all.flatMap((run) => Object.keys(run.config)))];
    const differing = keys.filter((key) => new Set(all.map((run) => run.config[key])).size > 1);
    const nodes = [];
    if (many && crowd) runTable(nodes[nodes.push(el("div")) - 1], ["run", ...differing],
      all.map((run) => [named(run), ...differing.map((key) => code(run.config[key]))]));
    else if (many) nodes.push(differing.length ? table(["key", ...all.map((run) => run.name)],
      differing.map((key) => [code(key), ...all.map((run) => code(run.config[key]))]), 99)
      : el("p", { class: "note" }, "The runs shown have one configuration."));
    const told = crowd ? [focus] : all;
    nodes.push(...told.map((run) => el("p", { class: "note" }, many ? `${run.name}: ` : "typed: ",
      code(run.overrides.join(" ") || "nothing: every value is the default"))));
    nodes.push(folded(`All ${keys.length} keys`, table(["key", ...told.map((run) => run.name)],
      keys.map((key) => [code(key), ...told.map((run) => code(run.config[key]))]), 99)));
    place.replaceChildren(...nodes);
  };
}

// What of a measurement is shown: of its result, or of the design that made it.
const MEASURED = {
  split: "split", method: "method", examples: "examples", draws: "draws", times: "times", exact_steps: "exact steps", last_steps: "last steps", nfe: "nfe",
    nfe_pilot: "nfe of the pilot",
  nfe_fit: "nfe of the fit", nfe_verify: "nfe of K-step checks", target: "target", clip_x0: "x̂₀ clipped",
    bound_seed: "bound.seed", T: "T", step: "step", seed: "seed",
  parameters: "parameters", train_seconds: "training (s)", evaluate_seconds: "evaluation (s)",
    split_sha256: "sha256 of the split",
};

function how(body) {
  const place = body.appendChild(el("div"));
  if (runs.length > CROWD) body.insertBefore(focusSelect(), place);
  return () => place.replaceChildren(...(shown().length > CROWD ? [focus] : shown()).flatMap((run) => {
    const [method, draws] = [run.config["bound.method"], run.config["bound.draws"]];
    const facts = run.measurements.map((m) => ({ ...(m.stem === run.measurement ? { method, draws } : {}),
      ...(m.result.bound || {}), ...m.result }));
    const used = Object.keys(MEASURED).filter((name) => facts.some((fact) => fact[name] !== undefined && fact[name] !== null));
    const text = (given) => (typeof given === "number" ? format(given) : String(given ?? "–").slice(0, 120));
    const rows = used.map((name) => [MEASURED[name],
      ...facts.map((fact) => (name === "split_sha256" ? text(fact[name]).slice(0, 12) : text(fact[name])))]);
    const sources = ["variances", "chains", "rate_distortion",
      "bands"].filter((kind) => run[kind] && run[kind].measurement !== run.measurement).map((kind) =>
      `${kind} from ${run[kind].measurement}`);
    return [
      many ? el("h4", {}, named(run)) : null, el("p", { class: "note" }, code(run.directory)),
      facts.length ? table(["", ...run.measurements.map((m) => m.stem)], rows) : null,
      sources.length ? el("p", { class: "note" }, `Other measurements: ${sources.join(", ")}.`) : null,
      ...run.notes.map((note) => el("p", { class: "note", "data-note": run.index }, note)),
      run.environment ? folded("Environment", el("pre", {}, run.environment)) : null,
    ].filter(Boolean);
  }));
}

// -- the whole --------------------------------------------------------------------------------------------------------

headline();
chapter("Bound");
if (many && FACTORS.length) section("groups", "Means of groups", "Runs that agree in their choices (View says in which), their mean and the standard deviation between them: with only the seed left to differ, what another seed may change. It is not the error of a difference; task=compare says that.", grouping);
if (many) section("ranking", "Ranking", "Differences are paired: same examples, same noise. In brackets the 95% interval; * where a difference is significant at 5% over all pairs of runs together (Holm).", ranking);
section("graph", "The chain and its bits", "The graphical model: each arrow of p from noise to data is as wide as what it costs, and together they are the bound.", graph);
section("cumulative", "The bound as it adds up", "From the data (L₀ at t = 1) to noise; the band is the standard error of the sum.", cumulative);
chapter("Terms per t");
section("per-t", "Term by term", "What each step of the chain costs, with its standard error and its two exact parts. Hover, touch or use the arrow keys to read values.", perT);
section("density", "Per unit of log SNR", "The axis on which two schedules can be compared: the area under a curve is its transitions' share of the bound.", density);
section("heat", "Over training", "The contribution of each t at each validation. Click a column to see that step's curve.",
  overTraining);
section("chains", "Fewer steps", "The bound of a K-step chain, as the ledger claims it and as an actual K-step evaluation finds it. On the logarithmic axis, bounds above 300 times the lowest stand at its upper edge.", chains);
section("rate", "Rate and distortion", "How much of the bound goes into how much of the picture, when x_t is sent from t = T down.", rate);
section("bands", "Frequencies", "The mean error split over eight bands of two-dimensional DCT frequency: which frequencies each step pays for.", bands);
section("drowning", "Which frequencies drown when", "Noise is white, pictures are not: with S the mean power of a DCT coefficient of x₀ in each of the eight bands, xₜ has α² S + σ², and a band drowns where α² S = σ².", drowning);
chapter("Variance");
section("variances", "The same mean with other variances",
  "The counterfactual: one network's mean, scored with each reverse variance; in brackets the difference to its own.", variances);
section("variance-parts", "While training", "The two exact parts of the transitions' KL at each validation, and the bound that the best isotropic variance of each t would give.", varianceParts);
if (spaceTerms(runs).length) {
  chapter("Space");
  section("space", "From z to x", "What the space adds to the bound on z, and what the chain gains over its prior alone.", spaces);
}
chapter("Samples");
if (runs.some((run) => run.quality.length)) section("quality", "Samples beside data", "How near samples are to held-out data, with one standard error. Distances in different features are not comparable, and none but that in Inception's is FID. Precision: samples that look like data; recall: data that look like samples.", quality);
section("samples", "Samples", "From fixed noise with the averaged weights; the final picture by the full sampler.", samples);
section("walk", "There and back", "The same levels both ways: test examples on their way to noise, and samples on their way from it.", walk);
chapter("Training");
section("training", "Training", null, training);
chapter("Speed");
section("speed", "Speed and cost", "Comparable on one machine with nothing else running.", speed);
chapter("Runs", true);
section("configuration", "Configuration", many ? "The keys in which the runs shown differ." : null, configuration);
section("how", "What was measured, and how", null, how);
viewing();
begin();
