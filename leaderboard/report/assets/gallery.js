const CLOSER = 3.5; // times the size in the gallery, where there is room
const MAPS = 3; // strips before those of maps: image, mask, reconstruction
const SIZES = [["up to 9 px", 0, 9], ["10 to 99 px", 10, 99], ["100 to 999 px", 100, 999], ["1000 px and more", 1000, Infinity]];
const OUTCOMES = {
  "anything": () => true,
  "true positives": ([, found]) => found > 0,
  "no true positive": ([, found]) => found === 0,
  "false positives": ([, , other]) => other > 0,
  "no false positive": ([, , other]) => other === 0,
};
const galleries = new Map();

/** What a gallery shows: size of its tiles, strips, captions of cases, and what is recorded of them. */
function galleryOf(host) {
  if (galleries.has(host)) return galleries.get(host);
  const size = Object.fromEntries(["tile", "gap", "height"].map((name) => [name, Number(host.dataset[name])]));
  const strips = [...host.querySelectorAll("tbody img")].map(({ src, width, parentElement }) => {
    const name = parentElement.parentElement.querySelector("th").firstChild.textContent;
    return { src, width, name, place: parentElement };
  });
  const cases = [...host.querySelectorAll(".cases li")].map((place) => ({ place, text: place.innerText || place.textContent, subject: place.querySelector("bdi")?.textContent ?? "" }));
  const { lesions = [], scores = {}, dataset = "", setting = "" } = dataOf("gallery")[Number(host.dataset.at)] ?? {};
  galleries.set(host, { size, strips, cases, lesions, scores, dataset, setting, shown: cases.map(() => true) });
  return galleries.get(host);
}

/** What a predictor reaches in one case, in words; nothing where it is not recorded. */
function scoreOf({ scores, lesions }, name, at) {
  const [ap, found, other] = scores[name]?.[at] ?? [null, null, null];
  return [ap === null ? "" : `AP ${ap.toFixed(3)}`, found === null ? "" : `TP ${found}/${lesions[at]}, FP ${other}`].filter(Boolean).join("\n");
}

/** The part of a strip that shows one case, `times` as large. */
function tileOf(strip, { tile, gap, height }, at, times) {
  const layer = make("div", { class: "layer" });
  layer.style.cssText = `width: ${tile * times}px; height: ${height * times}px; background-image: url(${strip.src});`
    + `background-size: ${strip.width * times}px ${height * times}px; background-position: ${-at * (tile + gap) * times}px 0`;
  return layer;
}

/** A button with one case of a strip and what is reached in it, which shows it larger. */
function tileButton(gallery, row, at) {
  const { size, strips, cases } = gallery;
  const strip = strips[row];
  const score = scoreOf(gallery, strip.name, at);
  const picture = make("img", { src: strip.src, alt: "", width: size.tile, height: size.height });
  picture.style.objectPosition = `${-at * (size.tile + size.gap)}px 0`;
  const button = make("button", { type: "button", class: "tile", "aria-label": `${cases[at].text.replace(/\s+/g, " ")}: ${strip.name}${score ? `, ${score}` : ""}. Look closer`, onclick: () => lookCloser(gallery, at, row) }, picture, ...(score ? [make("small", {}, score)] : []));
  button.style.width = `${size.tile}px`;
  return button;
}

/** A dialog with one case of a gallery: its image with or without the mask's contour, and a predictor's map over it at any opacity. */
function lookCloser(gallery, at, row) {
  const { size, strips, cases, shown } = gallery;
  const kept = [...cases.keys()].filter((one) => shown[one] || one === at);
  const chosen = { at: kept.indexOf(at), row: Math.max(row, 1), opacity: row ? 70 : 0, contour: false };
  const stage = make("div", { class: "stage", role: "img" });
  const says = make("p", { role: "status" });
  const dialog = make("dialog", { class: "closer", "aria-label": "A case of the gallery, enlarged", onclose: () => dialog.remove() });
  const draw = () => {
    const times = Math.min(CLOSER, (0.9 * document.documentElement.clientWidth - 40) / size.tile, (0.65 * innerHeight) / size.height);
    const place = kept[chosen.at];
    const over = tileOf(strips[chosen.row], size, place, times);
    over.style.opacity = chosen.opacity / 100;
    stage.replaceChildren(tileOf(strips[chosen.contour ? 1 : 0], size, place, times), over);
    stage.style.cssText = `width: ${size.tile * times}px; height: ${size.height * times}px`;
    stage.setAttribute("aria-label", `${cases[place].text}: ${strips[chosen.row].name} over the image at ${chosen.opacity} %`);
    says.textContent = [cases[place].text.replace(/\s+/g, " "), strips[chosen.row].name, scoreOf(gallery, strips[chosen.row].name, place)].filter(Boolean).join(" · ");
  };
  const slider = make("input", { type: "range", min: 0, max: 100, value: chosen.opacity, oninput: () => { chosen.opacity = Number(slider.value); draw(); } });
  const contour = make("input", { type: "checkbox", onchange: () => { chosen.contour = contour.checked; draw(); } });
  const pick = (label, key, texts, first = 0) => picker(label, texts, (index) => { chosen[key] = index + first; draw(); }, chosen[key] - first);
  const labelled = (text, control) => make("label", { class: "pick" }, make("span", {}, text), control);
  const close = make("button", { type: "button", onclick: () => dialog.close() }, "Close");
  dialog.append(
    make("div", { class: "toolbar" }, pick("Case", "at", kept.map((one) => cases[one].text)), pick("over the image", "row", strips.slice(1).map((strip) => strip.name), 1), labelled("opacity", slider), labelled("contour of the mask", contour), close),
    stage, says,
  );
  document.body.append(dialog);
  draw();
  dialog.showModal();
}

/** The controls that choose cases by subject, lesion size, and what a predictor finds at the threshold. */
function caseFilters(gallery, draw) {
  const { cases, lesions, scores, shown, dataset } = gallery;
  const names = Object.keys(scores).filter((name) => scores[name].every(([, found]) => found !== null));
  const sizes = lesions.every((one) => one !== null) ? SIZES.filter(([, low, high]) => lesions.some((one) => one >= low && one <= high)) : [];
  const kept = views[`gallery/${dataset}`] ?? {};
  const chosen = { words: kept.words ?? "", size: sizes.find(([text]) => text === kept.size) ?? null, name: placeOf(names, kept.name, 0), outcome: kept.outcome in OUTCOMES ? kept.outcome : "anything" };
  const status = make("span", { class: "status", role: "status" });
  const filter = () => {
    const name = names[chosen.name];
    cases.forEach(({ subject }, at) => {
      const [, low, high] = chosen.size ?? ["", -Infinity, Infinity];
      shown[at] = subject.toLowerCase().includes(chosen.words) && (!chosen.size || (lesions[at] >= low && lesions[at] <= high)) && (!name || OUTCOMES[chosen.outcome](scores[name][at]));
    });
    status.textContent = `${shown.filter(Boolean).length} of ${cases.length} cases`;
    draw();
  };
  const choose = (change) => {
    Object.assign(chosen, change);
    keepView(`gallery/${dataset}`, { words: chosen.words, size: chosen.size?.[0], name: names[chosen.name], outcome: chosen.outcome });
    filter();
  };
  const search = make("input", { type: "search", placeholder: "Subject", "aria-label": "Show cases of this subject", value: chosen.words, oninput: () => choose({ words: search.value.trim().toLowerCase() }) });
  const parts = [search];
  if (sizes.length > 1) parts.push(picker("lesion", ["any size", ...sizes.map(([text]) => text)], (at) => choose({ size: at ? sizes[at - 1] : null }), sizes.indexOf(chosen.size) + 1));
  if (names.length) {
    const outcomes = Object.keys(OUTCOMES);
    parts.push(picker("at the threshold", names, (at) => choose({ name: at }), chosen.name), picker("has", outcomes, (at) => choose({ outcome: outcomes[at] }), outcomes.indexOf(chosen.outcome)));
  }
  filter();
  return [...parts, status];
}

/** Draw a gallery: its filters, and each strip as buttons that show a case larger. */
function mountGallery(host) {
  if (host.dataset.mounted) return;
  host.dataset.mounted = "yes";
  const gallery = galleryOf(host);
  const { strips, cases, shown } = gallery;
  const rows = strips.map((strip, row) => {
    const tiles = cases.map((_, at) => tileButton(gallery, row, at));
    const place = make("div", { class: "tiles" }, ...tiles);
    place.style.gap = `${gallery.size.gap}px`;
    strip.place.replaceChildren(place);
    return tiles;
  });
  const columns = [cases.map((one) => one.place), ...rows];
  host.querySelector(".cases").style.width = "";
  const draw = () => columns.forEach((tiles) => tiles.forEach((tile, at) => { tile.hidden = !shown[at]; }));
  const look = make("button", { type: "button", class: "look", onclick: () => lookCloser(gallery, Math.max(shown.indexOf(true), 0), Math.min(MAPS, strips.length - 1)) }, "Look closer");
  host.before(make("div", { class: "toolbar" }, ...(cases.length > 1 ? caseFilters(gallery, draw) : []), look));
}

/** The cases of a dataset's gallery under two predictors: image, contour, both maps; nothing where these are not shown. */
function casesOfTwo(dataset, first, second) {
  const host = [...document.querySelectorAll(".gallery[data-at]")].find((one) => galleryOf(one).dataset === dataset);
  if (!host) return [];
  const gallery = galleryOf(host);
  const rows = [1, ...[first, second].map((name) => gallery.strips.findIndex((strip, row) => row >= MAPS && strip.name === name))];
  if (rows.includes(-1)) return [];
  const lines = [...new Set(rows)].map((row) => {
    const place = make("div", { class: "tiles" }, ...gallery.cases.map((_, at) => tileButton(gallery, row, at)));
    place.style.gap = `${gallery.size.gap}px`;
    return make("tr", {}, make("th", { scope: "row" }, gallery.strips[row].name), make("td", {}, place));
  });
  const captions = make("ol", { class: "cases" }, ...gallery.cases.map(({ place }) => make("li", {}, ...[...place.cloneNode(true).childNodes])));
  captions.style.setProperty("--tile", `${gallery.size.tile}px`);
  const head = make("thead", {}, make("tr", {}, make("td"), make("td", {}, captions)));
  const title = `The same cases, maps of ${gallery.setting}`;
  return [make("h3", {}, title), make("div", { class: "scroll gallery two", role: "region", "aria-label": title, tabindex: "0" }, make("table", {}, head, make("tbody", {}, ...lines)))];
}

/** Draw a gallery when it is unfolded. */
function mountUnfolded(host) {
  const folded = host.closest("details");
  if (folded.open) mountGallery(host);
  else folded.addEventListener("toggle", () => mountGallery(host), { once: true });
}
