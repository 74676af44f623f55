"use strict";

/** An element with attributes and children; texts are set as text, never as markup. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

const LONG = 26; // letters from which on a text is broken over lines
const SHORT = 8; // rows up to which a table needs no filter

const parsed = new Map();

/** The data of a script element that are deflated. */
async function inflate(element) {
  const bytes = Uint8Array.from(atob(element.textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  parsed.set(element.id.slice("data-".length), await new Response(stream).json());
}

/** Kept once all data can be had: then tables and plots are drawn. */
const inflated = Promise.all([...document.querySelectorAll("script[type='text/plain']")].map(inflate));

/** The data that the page carries under this name, parsed once; of large ones once `inflated` is kept. */
function dataOf(name) {
  if (!parsed.has(name)) parsed.set(name, JSON.parse(document.getElementById(`data-${name}`).textContent));
  return parsed.get(name);
}

/** A name's pieces with places to break it after each _. */
function breakable(text) {
  return text.split(/(?<=_)/).flatMap((piece, at) => (at ? [make("wbr"), piece] : [piece]));
}

/** The number that a cell starts with, NaN where it has none. */
function numberOf(text) {
  return parseFloat(text.replace("−", "-").replace(/^[<≥≤\s]+/, ""));
}

/** A labelled <select> of texts; `choose` gets the index of the chosen one. */
function picker(label, texts, choose, at = 0) {
  const select = make("select", { onchange: () => choose(select.selectedIndex) }, ...texts.map((text) => make("option", {}, text)));
  select.selectedIndex = at;
  return make("label", { class: "pick" }, make("span", {}, label), select);
}

/** Where a text is among others, `otherwise` if it is not. */
function placeOf(texts, text, otherwise) {
  const at = texts.indexOf(text);
  return at < 0 ? otherwise : at;
}

const VIEW = "#view="; // before what the address says of what is shown: a link that brings it back
const views = readViews();

/** What the address says of each table, plot, gallery and comparison, by its name: words, choices, sorting, which of several is shown. */
function readViews() {
  if (!location.hash.startsWith(VIEW)) return {};
  try {
    return JSON.parse(decodeURIComponent(location.hash.slice(VIEW.length))) ?? {};
  } catch {
    return {}; // a link that was cut
  }
}

/** Say in the address what a place shows now. */
function keepView(name, view) {
  views[name] = view;
  location.replace(VIEW + encodeURIComponent(JSON.stringify(views)));
}

/** One table: what it shows is decided by its sorting, its filters and how many rows are asked for. */
class TableView {
  constructor(host, table, rows, name = "") {
    const { words = [], chosen = [], sorting, folded = table.folded ?? [] } = views[name] ?? {};
    Object.assign(this, { table, name, page: rows, shown: rows, words, chosen: new Map(chosen), folded: new Set(folded), opened: new Set() });
    this.sorting = sorting ?? (table.sort === null ? null : { column: table.sort, direction: -1 });
    this.ranges = this.heatRanges();
    this.body = make("tbody", { onclick: (event) => this.clicked(event) });
    this.status = make("p", { class: "status", role: "status" });
    this.more = make("p", { class: "more" });
    this.heads = table.header.map((name, column) => this.head(name, column));
    const said = make("div", { class: "said" }, make("b", {}, table.title), table.caption ? ` ${table.caption}` : "");
    const caption = make("caption", {}, said);
    this.headed = make("tr");
    const drawn = make("table", {}, caption, make("thead", {}, this.headed), this.body);
    const scroll = make("div", { class: "scroll", role: "region", "aria-label": table.title, tabindex: "0" }, drawn);
    host.replaceChildren(this.toolbar(), scroll, this.more, ...(table.note ? [make("p", { class: "note" }, table.note)] : []));
    this.draw();
  }

  head(name, column) {
    const sort = () => this.sortBy(column);
    const numeric = this.table.kinds[column] === "number";
    return make("th", { scope: "col", class: numeric ? "n" : null }, make("button", { type: "button", onclick: sort }, name));
  }

  toolbar() {
    const search = make("input", {
      type: "search", placeholder: "Filter rows", "aria-label": `Filter the rows of ${this.table.title}`,
      oninput: () => this.filterBy(search.value), value: this.words.join(" "),
    });
    const pickers = this.table.header.flatMap((name, column) => {
      if (this.table.kinds[column] !== "choice") return [];
      const values = [...new Set(this.table.rows.map((row) => row[column]))];
      values.sort((a, b) => numberOf(a) - numberOf(b) || a.localeCompare(b));
      const at = this.chosen.has(column) ? values.indexOf(this.chosen.get(column)) + 1 : 0;
      return [picker(name, ["all", ...values], (chosen) => this.choose(column, chosen ? values[chosen - 1] : null), at)];
    });
    const save = make("button", { type: "button", class: "save", onclick: () => this.download() }, "CSV");
    save.setAttribute("aria-label", `Download the rows of ${this.table.title} that are shown as CSV`);
    const ends = [...this.columnPicker(), save];
    if (this.table.rows.length <= SHORT) return make("div", { class: "toolbar" }, make("span", { class: "hidden" }, this.status), ...ends);
    return make("div", { class: "toolbar" }, search, ...pickers, this.status, ...ends);
  }

  /** The columns of numbers to choose from, where some are not shown at first. */
  columnPicker() {
    const { header, heat, folded } = this.table;
    if (!folded?.length) return [];
    const boxes = heat.map((column) => {
      const box = make("input", { type: "checkbox", checked: !this.folded.has(column), onchange: () => this.fold(column, !box.checked) });
      return make("label", {}, box, header[column]);
    });
    const menu = make("details", { class: "columns", onkeydown: (event) => { if (event.key === "Escape") menu.open = false; } }, make("summary", {}, "Metrics"), make("div", {}, ...boxes));
    return [menu];
  }

  fold(column, away) {
    if (away) this.folded.add(column);
    else this.folded.delete(column);
    this.keep();
    this.draw();
  }

  /** The indices of the columns that are shown. */
  columns() {
    return [...this.table.header.keys()].filter((column) => !this.folded.has(column));
  }

  /** Open or close what stands behind the row that was clicked, unless text was selected or a control was meant. */
  clicked(event) {
    const row = event.target.closest("tr.linked");
    if (!row || event.target.closest("a, input, select") || String(getSelection())) return;
    const at = Number(row.dataset.at);
    if (this.opened.has(at)) this.opened.delete(at);
    else this.opened.add(at);
    row.querySelector("button").setAttribute("aria-expanded", this.opened.has(at));
    if (this.opened.has(at)) row.after(this.behind(at));
    else row.nextElementSibling.remove();
  }

  behind(at) {
    return make("tr", { class: "behind-row" }, make("td", { colspan: this.columns().length }, detailsOf(this.table.links[at])));
  }

  /** All rows that pass the filters, in their order, as the cells of the columns that are shown say them. */
  csv() {
    const columns = this.columns();
    const cells = [this.table.header, ...this.found().map((at) => this.table.rows[at])].map((row) => columns.map((column) => row[column]));
    const quoted = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    return cells.map((row) => row.map(quoted).join(",")).join("\r\n") + "\r\n";
  }

  download() {
    const link = make("a", { href: URL.createObjectURL(new Blob([this.csv()], { type: "text/csv" })) });
    link.download = `${this.table.title.replace(/[^\w.-]+/g, "_").slice(0, 60)}.csv`;
    link.click();
    URL.revokeObjectURL(link.href);
  }

  heatRanges() {
    const { rows, heat, together } = this.table;
    const range = (columns) => {
      let [low, high] = [Infinity, -Infinity];
      for (const row of rows) {
        for (const column of columns) {
          const value = numberOf(row[column]);
          if (value < low) low = value;
          if (value > high) high = value;
        }
      }
      return [low, high];
    };
    const whole = together ? range(heat) : null;
    return new Map(heat.map((column) => [column, whole ?? range([column])]));
  }

  sortBy(column) {
    const again = this.sorting?.column === column;
    const first = this.table.kinds[column] === "number" ? -1 : 1;
    this.sorting = { column, direction: again ? -this.sorting.direction : first };
    this.keep();
    this.draw();
  }

  filterBy(text) {
    this.words = text.toLowerCase().split(/\s+/).filter(Boolean);
    this.restart();
  }

  choose(column, value) {
    if (value === null) this.chosen.delete(column);
    else this.chosen.set(column, value);
    this.restart();
  }

  keep() {
    if (!this.name) return;
    const { words, chosen, sorting, folded } = this;
    keepView(this.name, { words, chosen: [...chosen], sorting, folded: [...folded] });
  }

  restart() {
    this.keep();
    this.shown = this.page;
    this.draw();
  }

  /** The indices of the rows that pass the filters, in order. Cells without a number come last either way. */
  found() {
    const { rows, kinds } = this.table;
    const passes = (row) => {
      for (const [column, value] of this.chosen) if (row[column] !== value) return false;
      if (!this.words.length) return true;
      const text = row.join(" ").toLowerCase();
      return this.words.every((word) => text.includes(word));
    };
    const found = [...rows.keys()].filter((at) => passes(rows[at]));
    if (!this.sorting) return found;
    const { column, direction } = this.sorting;
    const keys = rows.map((row) => numberOf(row[column]));
    const numeric = kinds[column] !== "text" && found.some((at) => !Number.isNaN(keys[at]));
    if (!numeric) return found.sort((a, b) => direction * rows[a][column].localeCompare(rows[b][column]));
    return found.sort((a, b) => Number.isNaN(keys[a]) - Number.isNaN(keys[b]) || direction * (keys[a] - keys[b]) || 0);
  }

  draw() {
    const found = this.found();
    const { kinds, rows, marks } = this.table;
    this.heads.forEach((head, column) => {
      const own = this.sorting?.column === column;
      if (own) head.setAttribute("aria-sort", this.sorting.direction > 0 ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
    this.headed.replaceChildren(...this.columns().map((column) => this.heads[column]));
    const drawn = found.slice(0, this.shown);
    this.body.replaceChildren(...drawn.flatMap((at) => [this.row(at, rows[at], marks[at] ?? "", kinds), ...(this.opened.has(at) ? [this.behind(at)] : [])]));
    if (!found.length) {
      const cell = make("td", { colspan: this.columns().length, class: "none" }, "No row passes the filters.");
      this.body.replaceChildren(make("tr", {}, cell));
    }
    const shown = Math.min(this.shown, found.length);
    this.status.textContent = `${shown < found.length ? `${shown} of ${found.length}` : found.length} rows${found.length < rows.length ? ` (${rows.length} unfiltered)` : ""}`;
    const grow = (count, text) => make("button", { type: "button", onclick: () => this.grow(count) }, text);
    const rest = found.length - shown;
    const paper = make("span", { class: "paper" }, `${shown} of ${found.length} rows: what is shown is printed.`);
    this.more.replaceChildren(...(rest > 0 ? [paper] : []), ...(rest > 200 ? [grow(200, "Show 200 more")] : []), ...(rest > 0 ? [grow(rest, `Show all ${found.length}`)] : []));
  }

  grow(count) {
    this.shown += count;
    this.draw();
  }

  row(at, cells, marks, kinds) {
    const linked = this.table.links?.[at]?.length > 0;
    return make("tr", { class: linked ? "linked" : null, "data-at": at }, ...this.columns().map((column) => {
      const text = cells[column];
      const long = text.length > LONG;
      if (column === 0) {
        const name = linked ? [make("button", { type: "button", "aria-expanded": String(this.opened.has(at)), title: "Runs, seeds and config" }, ...breakable(text))] : breakable(text);
        return make("th", { scope: "row", class: long ? "long" : null }, ...name);
      }
      const cell = make("td", { class: kinds[column] === "number" ? "n" : long ? "long" : null });
      const range = this.ranges.get(column);
      const value = range ? numberOf(text) : NaN;
      if (!Number.isNaN(value) && range[1] > range[0]) {
        cell.classList.add("heat");
        cell.style.setProperty("--heat", `${Math.round((100 * (value - range[0])) / (range[1] - range[0]))}`);
      }
      const mark = marks[column];
      if (mark === "b") cell.append(make("strong", { class: "best" }, text), make("span", { class: "hidden" }, " (best)"));
      else if (mark === "t") cell.append(make("span", { class: "tied" }, text), make("span", { class: "hidden" }, " (equivalent)"));
      else cell.append(text);
      return cell;
    }));
  }
}

/** Draw a place for tables: one of them, or a choice among several. */
function mountTables(host) {
  const { source } = host.dataset;
  const tables = dataOf(source);
  const rows = Number(host.dataset.rows);
  if (host.dataset.at !== undefined || tables.length === 1) {
    const at = Number(host.dataset.at ?? 0);
    new TableView(host, tables[at], rows, `${source}/${at}`);
    return;
  }
  const place = make("div");
  const show = (at) => new TableView(place, tables[at], rows, `${source}/${at}`);
  const choose = (at) => {
    keepView(source, { at });
    show(at);
  };
  const at = Math.min(views[source]?.at ?? 0, tables.length - 1);
  host.replaceChildren(picker("Table", tables.map((table) => table.title), choose, at), place);
  show(at);
}
