const CLOSER = 3.5; // times the size in the gallery, where there is room

/** The part of a strip that shows one case, `times` as large. */
function tileOf(strip, { tile, gap, height }, at, times) {
  const layer = make("div", { class: "layer" });
  layer.style.cssText = `width: ${tile * times}px; height: ${height * times}px; background-image: url(${strip.src});`
    + `background-size: ${strip.width * times}px ${height * times}px; background-position: ${-at * (tile + gap) * times}px 0`;
  return layer;
}

/** A dialog with one case of a gallery: its image, a predictor's map over it, and the mask, at any opacity. */
function lookCloser(gallery, at, row) {
  const size = Object.fromEntries(["tile", "gap", "height"].map((name) => [name, Number(gallery.dataset[name])]));
  const strips = [...gallery.querySelectorAll("tbody img")];
  const names = strips.map((strip) => strip.closest("tr").querySelector("th").innerText.replace(/\s+/g, " "));
  const cases = [...gallery.querySelectorAll(".cases li")].map((one) => one.innerText);
  const chosen = { at, row: Math.max(row, 1), opacity: row ? 70 : 0 };
  const stage = make("div", { class: "stage", role: "img" });
  const dialog = make("dialog", { class: "closer", "aria-label": "A case of the gallery, enlarged", onclose: () => dialog.remove() });
  const draw = () => {
    const times = Math.min(CLOSER, (0.9 * document.documentElement.clientWidth - 40) / size.tile, (0.7 * innerHeight) / size.height);
    const over = tileOf(strips[chosen.row], size, chosen.at, times);
    over.style.opacity = chosen.opacity / 100;
    stage.replaceChildren(tileOf(strips[0], size, chosen.at, times), over);
    stage.style.cssText = `width: ${size.tile * times}px; height: ${size.height * times}px`;
    stage.setAttribute("aria-label", `${cases[chosen.at]}: ${names[chosen.row]} over the image at ${chosen.opacity} %`);
  };
  const slider = make("input", { type: "range", min: 0, max: 100, value: chosen.opacity, oninput: () => { chosen.opacity = Number(slider.value); draw(); } });
  const pick = (label, key, texts, first = 0) => picker(label, texts, (index) => { chosen[key] = index + first; draw(); }, chosen[key] - first);
  const close = make("button", { type: "button", onclick: () => dialog.close() }, "Close");
  dialog.append(
    make("div", { class: "toolbar" }, pick("Case", "at", cases), pick("over the image", "row", names.slice(1), 1), make("label", { class: "pick" }, make("span", {}, "opacity"), slider), close),
    stage,
  );
  document.body.append(dialog);
  draw();
  dialog.showModal();
}

document.querySelectorAll(".gallery").forEach((gallery) => {
  const step = Number(gallery.dataset.tile) + Number(gallery.dataset.gap);
  const strips = [...gallery.querySelectorAll("tbody img")];
  strips.forEach((strip, row) => strip.addEventListener("click", (event) => lookCloser(gallery, Math.floor(event.offsetX / step), row)));
  gallery.before(make("button", { type: "button", class: "look", onclick: () => lookCloser(gallery, 0, Math.min(3, strips.length - 1)) }, "Look closer"));
});
