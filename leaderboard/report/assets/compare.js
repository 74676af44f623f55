const LISTED = 10; // subjects of a table of differences

/** The subjects on which both rows have a value, with these and their difference, the largest first. */
function pairsOf(entry, metric, first, second) {
  const [a, b] = [first, second].map((row) => entry.values[metric][row]);
  const known = entry.subjects.map((subject, at) => ({ subject, a: a[at], b: b[at], gain: a[at] - b[at] }));
  return known.filter((one) => one.a !== null && one.b !== null).sort((x, y) => Math.abs(y.gain) - Math.abs(x.gain));
}

/** What two rows reach on every test subject: pickers, a scatter, and the subjects that they differ on most. */
function mountCompare(host) {
  const entries = dataOf("compare");
  const chosen = { entry: 0, metric: 0, first: 0, second: 1 };
  const bar = make("div", { class: "toolbar" });
  const says = make("p", { role: "status" });
  const place = make("div", { class: "drawn", role: "group" });
  const table = make("div");
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
    const axis = { gridcolor: colours.line, linecolor: colours.muted, zeroline: false, automargin: true, range: [-0.02, 1.02] };
    const points = {
      x: pairs.map((one) => one.b), y: pairs.map((one) => one.a), mode: "markers", text: pairs.map((one) => literal(one.subject)),
      marker: { color: "#0072B2", size: 8, opacity: 0.65 }, hovertemplate: "%{text}: %{y:.3f} against %{x:.3f}<extra></extra>",
    };
    const same = { x: [0, 1], y: [0, 1], mode: "lines", line: { color: colours.muted, width: 1, dash: "dot" }, hoverinfo: "skip" };
    const layout = {
      height: 440, paper_bgcolor: colours.paper, plot_bgcolor: colours.paper, font: { color: colours.ink, size: 13, family: "inherit" }, showlegend: false,
      xaxis: { ...axis, title: { text: literal(`${metric} of ${second}`) } }, yaxis: { ...axis, title: { text: literal(`${metric} of ${first}`) } },
      margin: { l: 60, r: 16, t: 16, b: 56 }, hoverlabel: { bgcolor: colours.paper, bordercolor: colours.muted, font: { color: colours.ink } },
    };
    Plotly.react(place, [same, points], layout, { responsive: true, displaylogo: false, displayModeBar: false });
    new TableView(table, {
      title: `Subjects on which ${first} and ${second} differ most`, caption: `${metric}, means over seeds.`, header: ["subject", first, second, "difference"],
      rows: pairs.map((one) => [one.subject, one.a.toFixed(3), one.b.toFixed(3), one.gain.toFixed(3)]), kinds: ["text", "number", "number", "number"],
      heat: [], together: false, marks: [], sort: null, note: "",
    }, LISTED);
    cases.replaceChildren(...casesOfTwo(entry.dataset, first, second));
  };
  const fill = () => {
    const entry = entries[chosen.entry];
    Object.assign(chosen, { metric: 0, first: 0, second: 1 });
    const pick = (label, key, texts) => picker(label, texts, (at) => { chosen[key] = at; draw(); }, chosen[key]);
    const datasets = picker("Dataset", entries.map((one) => one.dataset), (at) => { chosen.entry = at; fill(); }, chosen.entry);
    bar.replaceChildren(datasets, pick("Row", "first", entry.names), pick("against", "second", entry.names), pick("Metric", "metric", Object.keys(entry.values)));
    draw();
  };
  host.append(bar, says, place, table, cases);
  fill();
  return draw;
}
