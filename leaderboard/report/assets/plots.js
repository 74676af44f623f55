const LABEL = 36; // letters of a name that a plot has room for

/** A name as Plotly shows it literally: Plotly would read some markup in it. The middle of a long one is left out. */
function literal(text, room = LABEL) {
  const short = text.length > room ? `${text.slice(0, room / 2)}…${text.slice(1 - room / 2)}` : text;
  return short.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

const FIRST_SHOWN = 8;
const BESIDE = 0.005; // of the betas' range, from a predictor to the next at a beta
const BASELINE = "intensity"; // what a model is worth shows beside it

/** The page's colours, as the current theme has them. */
function themeColours() {
  const style = getComputedStyle(document.documentElement);
  const named = (name) => style.getPropertyValue(name).trim();
  return { ink: named("--ink"), muted: named("--muted"), line: named("--line"), paper: named("--card") };
}

/** How a predictor is drawn; an ensemble over seeds as its predictor. Black lines follow the theme. */
function lookOf(name, ink) {
  const { looks } = dataOf("plots");
  const look = looks[name] ?? looks[name.replace(/ \(\d+\)$/, "")] ?? { color: "#777777", symbol: "circle", dash: "solid" };
  return look.color === "#000000" ? { ...look, color: ink } : look;
}

function last(curve) {
  return curve.points.at(-1)[1] ?? -1;
}

function ranked(entry) {
  return [...entry.curves].sort((a, b) => last(b) - last(a));
}

/** Those that are not hidden at first, and so make the axis. */
function firstShown(entry) {
  return ranked(entry).slice(0, FIRST_SHOWN);
}

/** The betas of a plot, rising, and whether their axis is logarithmic. */
function betasOf(entry) {
  const betas = [...new Set(entry.curves.flatMap((curve) => curve.points.map((point) => point[0])))].sort((a, b) => a - b);
  return { betas, log: betas[0] > 0 };
}

/** Where the curves stand beside each other at a beta, those that are shown at first around it: (beta, place) → x. */
function besideBetas(entry) {
  const { betas, log } = betasOf(entry);
  const along = log ? betas.map(Math.log) : betas;
  const gap = Math.min(...along.slice(1).map((at, before) => at - along[before]));
  const step = Math.min(BESIDE * (along.at(-1) - along[0]), (gap / 2) / entry.curves.length);
  const middle = (firstShown(entry).length - 1) / 2;
  return (beta, place) => (log ? beta * Math.exp(step * (place - middle)) : beta + step * (place - middle));
}

function betaTraces(entry, colours) {
  const beside = besideBetas(entry);
  return ranked(entry).flatMap((curve, at) => {
    const look = lookOf(curve.name, colours.ink);
    const points = curve.points.filter((point) => point[1] !== null);
    const shared = { legendgroup: String(at), visible: at < FIRST_SHOWN ? true : "legendonly" };
    const reach = (end) => points.map((point) => (point[2] === null ? null : Math.abs(point[end] - point[1])));
    const line = {
      ...shared, name: literal(curve.name), x: points.map((point) => beside(point[0], at)), y: points.map((point) => point[1]), mode: "lines+markers",
      line: { color: look.color, dash: look.dash, width: 2 }, marker: { color: look.color, symbol: look.symbol, size: 8 },
      error_y: { type: "data", symmetric: false, array: reach(3), arrayminus: reach(2), color: look.color, thickness: 1, width: 2 },
      customdata: points.map((point) => point[0]), hovertemplate: "beta %{customdata}: %{y:.3f}<extra>%{fullData.name}</extra>",
    };
    const paired = points.filter((point) => point[4]);
    const pairs = {
      ...shared, x: paired.flatMap((point) => Array(2).fill(beside(point[0], at))), y: paired.flatMap((point) => point[4]), mode: "markers",
      marker: { color: look.color, size: 4 }, hoverinfo: "skip", showlegend: false,
    };
    return paired.length ? [line, pairs] : [line];
  });
}

function betaLayout(entry) {
  const { betas, log } = betasOf(entry);
  return { xaxis: { title: { text: "beta" }, type: log ? "log" : "linear", tickvals: betas, ticktext: betas.map(String) }, yaxis: { title: { text: entry.metric }, range: around(firstShown(entry).flatMap((curve) => curve.points.map((point) => point[1]))) } };
}

function operatingTraces(entry, colours) {
  return entry.curves.map((curve, at) => {
    const look = lookOf(curve.name, colours.ink);
    return {
      name: literal(curve.name), x: entry.x, y: curve.y, mode: "lines", line: { color: look.color, dash: look.dash, width: 2 },
      visible: at < FIRST_SHOWN || curve.name === BASELINE ? true : "legendonly", hovertemplate: `${entry.axes[1]} %{y:.3f} at %{x:.3g}<extra>%{fullData.name}</extra>`,
    };
  });
}

function operatingLayout(entry) {
  const [x, y] = entry.axes;
  const log = x === "false-positive rate"; // what matters lies below a hundredth
  return { xaxis: { title: { text: x }, type: log ? "log" : "linear", range: log ? [-4, 0] : [0, 1], tickformat: "~g" }, yaxis: { title: { text: y }, range: [0, 1.01] } };
}

function timeTraces(entry, colours) {
  const value = (point) => point.y[0];
  const known = entry.points.filter((point) => value(point) !== null).sort((a, b) => value(b) - value(a));
  const front = known.filter((point) => point.front).sort((a, b) => a.x - b.x);
  const steps = {
    name: "front: nothing is faster and better", x: front.map((point) => point.x), y: front.map(value), mode: "lines",
    line: { color: colours.muted, shape: "hv", width: 1.5 }, hoverinfo: "skip",
  };
  const points = known.map((point) => {
    const look = lookOf(point.name, colours.ink);
    const [mean, low, high] = point.y;
    const bars = low === null ? {} : { error_y: { type: "data", symmetric: false, array: [high - mean], arrayminus: [mean - low], color: look.color, thickness: 1, width: 2 } };
    return {
      name: literal(point.name), x: [point.x], y: [mean], mode: "markers", marker: { color: look.color, symbol: look.symbol, size: point.front ? 12 : 8 },
      customdata: [literal(point.setting)], hovertemplate: "%{y:.3f} in %{x} ms, %{customdata}<extra>%{fullData.name}</extra>", ...bars,
    };
  });
  return [steps, ...points];
}

function timeLayout(entry) {
  const times = entry.points.map((point) => point.x);
  const type = Math.min(...times) > 0 ? "log" : "linear";
  const span = Math.max(...times) / Math.min(...times);
  const dtick = type !== "log" || span < 5 ? undefined : span > 300 ? 1 : "D2"; // each decade, or 1, 2 and 5
  return { xaxis: { title: { text: "milliseconds per image" }, type, dtick, tickformat: "~g" }, yaxis: { title: { text: entry.metric }, range: around(entry.points.map((point) => point.y[0])) } };
}

const DOMAIN_LOOKS = [["#0072B2", "circle"], ["#D55E00", "square"], ["#009E73", "diamond"]];

/** The predictors from the lowest mean over the domains to the highest. */
function byMean(entry) {
  const mean = (name) => {
    const own = entry.values.filter((one) => one.name === name);
    return own.reduce((sum, one) => sum + one.value, 0) / own.length;
  };
  return [...new Set(entry.values.map((one) => one.name))].sort((a, b) => mean(a) - mean(b));
}

function domainTraces(entry) {
  const order = byMean(entry);
  return entry.domains.map((domain, at) => {
    const own = entry.values.filter((one) => one.domain === domain);
    const [color, symbol] = DOMAIN_LOOKS[at % DOMAIN_LOOKS.length];
    return {
      name: literal(domain), x: own.map((one) => one.value), y: own.map((one) => order.indexOf(one.name)), mode: "markers",
      marker: { color, symbol, size: 10 }, error_x: { type: "data", array: own.map((one) => one.sd ?? 0), color, thickness: 1, width: 3 },
      customdata: own.map((one) => [literal(one.name), literal(one.count)]), hovertemplate: "%{customdata[0]}: %{x:.3f}, %{customdata[1]}<extra>%{fullData.name}</extra>",
    };
  });
}

function domainLayout(entry, narrow) {
  const order = byMean(entry);
  const ticktext = order.map((name) => literal(name, narrow ? 18 : LABEL));
  const yaxis = { tickvals: [...order.keys()], ticktext, range: [-0.6, order.length - 0.4] };
  return { xaxis: { title: { text: `${entry.metric} ± sd` } }, yaxis, height: 140 + 26 * order.length };
}

/** An axis around these means: an interval of few seeds is often so wide that nothing else could be seen. */
function around(means, share = 0.3) {
  const known = means.filter((mean) => mean !== null);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const room = share * (high - low) || 0.05;
  return [low - room, high + room];
}

const SEED_COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];

function trainingTraces(entry) {
  return entry.curves.flatMap((curve, at) => {
    const color = SEED_COLOURS[at % SEED_COLOURS.length];
    const shared = { name: literal(curve.name), legendgroup: String(at) };
    const line = {
      ...shared, x: curve.points.map((point) => point[0]), y: curve.points.map((point) => point[1]), mode: "lines", line: { color, width: 1.5 },
      hovertemplate: "epoch %{x}: %{y:.5~g}<extra>%{fullData.name}</extra>",
    };
    if (curve.best === null) return [line];
    const [x, y] = curve.points.reduce((a, b) => (Math.abs(b[0] - curve.best) < Math.abs(a[0] - curve.best) ? b : a));
    const star = { ...shared, x: [x], y: [y], mode: "markers", marker: { color, symbol: "star", size: 13 }, showlegend: false, hovertemplate: `best epoch ${curve.best}: %{y:.5~g}<extra>%{fullData.name}</extra>` };
    return [line, star];
  });
}

/** Without the steep start, beside which nothing of the rest could be seen. */
function trainingLayout(entry) {
  const values = entry.curves.flatMap((curve) => curve.points.slice(Math.floor(curve.points.length / 10)).map((point) => point[1]));
  return { xaxis: { title: { text: "epoch" } }, yaxis: { title: { text: entry.metric }, range: around(values, 0.08) } };
}

const KINDS = {
  operating: { traces: operatingTraces, layout: operatingLayout, says: "Each predictor at the setting chosen on validation, the mean over seeds. Click a name to hide or show it." },
  beta: { traces: betaTraces, layout: betaLayout, says: "A line per predictor, best first; bars are 95 % intervals over seeds, of two seeds both values are shown. Click a name to hide or show it, double-click the plot to see it all." },
  time: { traces: timeTraces, layout: timeLayout, says: "Each predictor at the setting chosen on validation; bars are 95 % intervals over three or more seeds. Up and left is better." },
  domains: { traces: domainTraces, layout: domainLayout, says: "Mean ± sd over datasets, each at the setting chosen on validation; n/N datasets on hovering." },
  training: { traces: trainingTraces, layout: trainingLayout, says: "A curve per seed; the star is the best epoch, by the ELBO of normal validation images. Where it is the last one, a longer training may give more." },
};

const WHERE = { beta: "Dataset, model", training: "Setting" };

/** Draw one plot of a kind for the current theme and width; returns how many of its names start hidden, in words. */
function drawPlot(place, kind, entry) {
  const colours = themeColours();
  const narrow = place.clientWidth < 640;
  const axis = { gridcolor: colours.line, linecolor: colours.muted, zeroline: false, automargin: true };
  const own = KINDS[kind].layout(entry, narrow);
  const traces = KINDS[kind].traces(entry, colours);
  const height = own.height ?? (narrow ? 420 + 11 * traces.length : Math.max(440, 120 + 19 * traces.filter((one) => one.showlegend !== false).length));
  const layout = {
    ...own, height, width: document.body.classList.contains("printing") ? place.clientWidth : undefined, paper_bgcolor: colours.paper, plot_bgcolor: colours.paper, font: { color: colours.ink, size: 13, family: "inherit" },
    xaxis: { ...axis, ...own.xaxis }, yaxis: { ...axis, ...own.yaxis }, margin: { l: 60, r: 16, t: 36, b: 56 }, hovermode: "closest",
    legend: { tracegroupgap: 0, ...(narrow ? { orientation: "h", y: 0, yref: "container", yanchor: "bottom", font: { size: 11 } } : {}) }, hoverlabel: { bgcolor: colours.paper, bordercolor: colours.muted, font: { color: colours.ink } },
  };
  const options = { responsive: true, displaylogo: false, displayModeBar: narrow ? false : "hover", modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
  Plotly.react(place, traces, layout, options);
  const named = traces.filter((one) => one.showlegend !== false);
  const shown = named.filter((one) => one.visible !== "legendonly");
  return shown.length < named.length ? `${shown.length} of ${named.length} shown. ` : "";
}

/** Draw a place for plots: a choice of dataset and metric where there are several, and the plot; returns how to redraw it. */
function mountPlot(host) {
  const kind = host.dataset.plot;
  const entries = dataOf("plots")[kind];
  const places = [...new Set(entries.map((entry) => entry.where))];
  const metrics = [...new Set(entries.map((entry) => entry.metric))];
  const kept = views[`plot/${kind}`] ?? {};
  const chosen = { where: places[placeOf(places, kept.where, 0)], metric: metrics[placeOf(metrics, kept.metric, 0)] };
  const title = host.querySelector("h3").textContent;
  const place = make("div", { class: "drawn", role: "group" });
  const says = make("p", { class: "note" });
  const empty = make("p", { class: "note" }, "No values of this metric here.");
  const draw = () => {
    const entry = entries.find((one) => one.where === chosen.where && one.metric === chosen.metric);
    place.hidden = !entry;
    empty.hidden = Boolean(entry);
    if (!entry) return;
    place.setAttribute("aria-label", `${title}: ${entry.metric} ${entry.where}.${["training", "operating"].includes(kind) ? "" : " The table of the same name under Views has its numbers."}`);
    says.textContent = drawPlot(place, kind, entry) + KINDS[kind].says;
  };
  const choose = (key, texts) => (at) => {
    chosen[key] = texts[at];
    keepView(`plot/${kind}`, chosen);
    draw();
  };
  const bar = make("div", { class: "toolbar" });
  if (places.length > 1) bar.append(picker(WHERE[kind] ?? "Dataset", places, choose("where", places), places.indexOf(chosen.where)));
  if (metrics.length > 1) bar.append(picker("Metric", metrics, choose("metric", metrics), metrics.indexOf(chosen.metric)));
  host.append(bar, place, empty, says);
  draw();
  return draw;
}

/** Of the diagrams of ranks those of one metric and one choice of datasets; paper has them all. */
function mountRanks(host) {
  const figures = [...host.children];
  const choices = ["metric", "datasets"].map((key) => [key, [...new Set(figures.map((one) => one.dataset[key]))]]);
  const chosen = Object.fromEntries(choices.map(([key, values]) => [key, values[placeOf(values, views.ranks?.[key], 0)]]));
  const draw = () => figures.forEach((one) => { one.hidden = choices.some(([key]) => one.dataset[key] !== chosen[key]); });
  const labels = { metric: "Metric", datasets: "Datasets" };
  host.before(make("div", { class: "toolbar" }, ...choices.map(([key, values]) => picker(labels[key], values, (at) => { chosen[key] = values[at]; keepView("ranks", chosen); draw(); }, values.indexOf(chosen[key])))));
  draw();
}

document.querySelectorAll("#ranks").forEach(mountRanks);
