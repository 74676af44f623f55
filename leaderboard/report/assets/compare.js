const LISTED = 10; // subjects of a table of differences

/** The subjects on which both rows have a value, with these and their difference, the largest first. */
function pairsOf(entry, metric, first, second) {
  const [a, b] = [first, second].map((row) => entry.values[metric][row]);
  const known = entry.subjects.map((subject, at) => ({ subject, a: a[at], b: b[at], gain: a[at] - b[at] }));
  return known.filter((one) => one.a !== null && one.b !== null).sort((x, y) => Math.abs(y.gain) - Math.abs(x.gain));
}

/** What both plots of two rows share. */
function comparedLayout(colours, height, xaxis, yaxis) {
  const axis = { gridcolor: colours.line, linecolor: colours.muted, zeroline: false, automargin: true };
  return {
    height, paper_bgcolor: colours.paper, plot_bgcolor: colours.paper, font: { color: colours.ink, size: 13, family: "inherit" }, showlegend: false,
    xaxis: { ...axis, ...xaxis }, yaxis: { ...axis, ...yaxis }, margin: { l: 60, r: 16, t: 16, b: 56 }, hoverlabel: { bgcolor: colours.paper, bordercolor: colours.muted, font: { color: colours.ink } },
  };
}

/** A bar for each subject: by how much one row is above the other, from the subject where it leads most to that where it trails most. */
function drawDifferences(place, pairs, metric, first, colours) {
  const sorted = pairs.toSorted((x, y) => y.gain - x.gain);
  const bars = {
    type: "bar", x: [...sorted.keys()].map((at) => at + 1), y: sorted.map((one) => one.gain), customdata: sorted.map((one) => literal(one.subject)),
    marker: { color: sorted.map((one) => (one.gain < 0 ? "#D55E00" : "#0072B2")) }, hovertemplate: "%{customdata}: %{y:+.3f}<extra></extra>",
  };
  const layout = comparedLayout(colours, 320, { title: { text: `test subjects, from where ${literal(first, 18)} leads` }, tickformat: "d" }, { title: { text: `difference in ${metric}` }, zeroline: true, zerolinecolor: colours.muted });
  Plotly.react(place, [bars], layout, { responsive: true, displaylogo: false, displayModeBar: false });
}

/** What two rows reach on every test subject: pickers, a scatter, their difference on each, and the same cases under both. */
function mountCompare(host) {
  const entries = dataOf("compare");
  const chosen = { entry: 0, metric: 0, first: 0, second: 1 };
  const kept = views.compare ?? {};
  const bar = make("div", { class: "toolbar" });
  const says = make("p", { role: "status" });
  const place = make("div", { class: "drawn", role: "group" });
  const differences = make("div", { class: "drawn short", role: "group" });
  const table = make("div");
  const numbers = make("details", {}, make("summary", {}, "In numbers"), table);
  const cases = make("div", { class: "same" });
  const draw = () => {
    const entry = entries[chosen.entry];
    const metric = Object.keys(entry.values)[chosen.metric];
    const [first, second] = [entry.names[chosen.first], entry.names[chosen.second]];
    const pairs = pairsOf(entry, metric, chosen.first, chosen.second);
    const won = pairs.filter((one) => one.gain > 0).length;
    const lost = pairs.filter((one) => one.gain < 0).length;
    const mean = pairs.reduce((sum, one) => sum + one.gain, 0) / Math.max(pairs.length, 1);
    says.textContent = `${metric} of ${first} is higher on ${won} subjects, lower on ${lost} and equal on ${pairs.length - won - lost}; mean difference ${mean.toFixed(3)}.`;
    place.setAttribute("aria-label", `${metric} of ${first} against ${second} by subject. ${says.textContent}`);
    const colours = themeColours();
    const axis = { range: [-0.02, 1.02] };
    const points = {
      x: pairs.map((one) => one.b), y: pairs.map((one) => one.a), mode: "markers", text: pairs.map((one) => literal(one.subject)),
      marker: { color: "#0072B2", size: 8, opacity: 0.65 }, hovertemplate: "%{text}: %{y:.3f} against %{x:.3f}<extra></extra>",
    };
    const same = { x: [0, 1], y: [0, 1], mode: "lines", line: { color: colours.muted, width: 1, dash: "dot" }, hoverinfo: "skip" };
    const layout = comparedLayout(colours, 440, { ...axis, title: { text: literal(`${metric} of ${second}`) } }, { ...axis, title: { text: literal(`${metric} of ${first}`) } });
    Plotly.react(place, [same, points], layout, { responsive: true, displaylogo: false, displayModeBar: false });
    differences.setAttribute("aria-label", `Difference of ${first} and ${second} by subject. The table below has its numbers.`);
    drawDifferences(differences, pairs, metric, first, colours);
    new TableView(table, {
      title: `Subjects on which ${first} and ${second} differ most`, caption: `${metric}, means over seeds.`, header: ["subject", first, second, "difference"],
      rows: pairs.map((one) => [one.subject, one.a.toFixed(3), one.b.toFixed(3), one.gain.toFixed(3)]), kinds: ["text", "number", "number", "number"],
      heat: [], together: false, marks: [], sort: null, note: "",
    }, LISTED);
    cases.replaceChildren(...casesOfTwo(entry.dataset, first, second));
  };
  const fill = () => {
    const entry = entries[chosen.entry];
    const keep = () => keepView("compare", { dataset: entry.dataset, metric: Object.keys(entry.values)[chosen.metric], first: entry.names[chosen.first], second: entry.names[chosen.second] });
    const pick = (label, key, texts) => picker(label, texts, (at) => { chosen[key] = at; keep(); draw(); }, chosen[key]);
    const datasets = picker("Dataset", entries.map((one) => one.dataset), (at) => { Object.assign(chosen, { entry: at, metric: 0, first: 0, second: 1 }); fill(); }, chosen.entry);
    bar.replaceChildren(datasets, pick("Row", "first", entry.names), pick("against", "second", entry.names), pick("Metric", "metric", Object.keys(entry.values)));
    draw();
  };
  host.append(bar, says, place, differences, numbers, cases);
  chosen.entry = placeOf(entries.map((one) => one.dataset), kept.dataset, 0);
  chosen.metric = placeOf(Object.keys(entries[chosen.entry].values), kept.metric, 0);
  chosen.first = placeOf(entries[chosen.entry].names, kept.first, 0);
  chosen.second = placeOf(entries[chosen.entry].names, kept.second, 1);
  fill();
  return draw;
}
