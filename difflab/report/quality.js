// How near samples are to held-out data: what task=quality left in a run, one row for each measurement.

const MEASURES = ["precision", "recall", "density", "coverage"];

function quality(body) {
  const place = body.appendChild(el("div"));
  const given = (run, record, side, key) => number(run, `quality/${key}`, side[key], side[`${record.key}_se`]);
  const row = (run, record, side, name) => [name, side === record ? `${record.sampler}, ${record.steps.toLocaleString("en")}` : "",
    side.examples.toLocaleString("en"), record.features_label, given(run, record, side, record.key),
    given(run, record, side, `${record.key}_corrected`), ...MEASURES.map((key) => number(run, `quality/${key}`, side[key], side[`${key}_se`]))];
  return () => {
    const all = shown().filter((run) => run.quality.length);
    place.replaceChildren(all.length ? table(["run", "sampler, steps", "samples", "Fréchet distance in", "distance", "bias removed", ...MEASURES],
      all.flatMap((run) => run.quality.flatMap((record) => [row(run, record, record, named(run)),
        row(run, record, record.held_out, "held-out examples in their place")])))
      : el("p", { class: "note" }, "No quality of the runs shown: ", el("code", {}, `python -m difflab task=quality run=${focus.directory}`),
        " measures it."));
  };
}
