const OWN = "predictors.members."; // before the keys of one predictor's config

/** What stands behind a row of a table: for each of its settings the runs with their seeds, and their config. */
function detailsOf(places) {
  return make("div", { class: "behind" }, ...places.map((place) => settingOf(dataOf("details").rows[place])));
}

function settingOf([at, named, ...values]) {
  const { metrics, predictors, settings, common, lines } = dataOf("details");
  const predictor = predictors[named];
  const { name, id, note, dataset, own, runs } = settings[at];
  const of = (places) => places.map((place) => lines[place]);
  const concerns = (line) => !line.startsWith(OWN) || line.startsWith(`${OWN}${predictor}.`);
  const differs = of(own).filter(concerns);
  const all = [...of(common[dataset]), ...of(own)].filter(concerns).sort();
  const known = values.length ? metrics.flatMap((_, metric) => (values.some((run) => run[metric] !== null) ? [metric] : [])) : [];
  const heads = ["seed", "run", ...known.map((metric) => metrics[metric]), "epochs", "best epoch", "finished (UTC)", "device"];
  const cells = ([first, ...rest], at) => {
    const [run, ...facts] = rest.map((one) => String(one ?? "–"));
    return [String(first), run, ...known.map((metric) => values[at][metric]?.toFixed(3) ?? "–"), ...facts];
  };
  const row = ([first, ...rest]) => make("tr", {}, make("th", { scope: "row" }, first), ...rest.map((text) => make("td", {}, text)));
  const head = make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)));
  const title = `${name}, setting ${id}: ${predictor}`;
  const table = make("table", {}, make("caption", { class: "hidden" }, `Runs of ${title}`), make("thead", {}, head), make("tbody", {}, ...runs.map((run, at) => row(cells(run, at)))));
  const says = differs.length ? `Not in every setting of ${dataset} here: ${differs.join("; ")}.` : "";
  return make("div", { class: "setting" }, make("h4", {}, title),
    ...[note, says].filter(Boolean).map((text) => make("p", {}, text)),
    make("div", { class: "scroll", role: "region", "aria-label": `Runs of ${title}`, tabindex: "0" }, table),
    make("details", {}, make("summary", {}, `Config, ${all.length} keys`), make("ul", { class: "config" }, ...all.map((line) => make("li", {}, line)))));
}
