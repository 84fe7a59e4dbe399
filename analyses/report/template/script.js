"use strict";
// 660 pixels are the text width of A4, within US Letter's too; nothing slides on paper.
const PAPER = {ink: "#1b1b1f", ground: "#ffffff", fixed: {width: 660, sliders: []}};
const CLEAR = "rgba(0,0,0,0)";
const plots = [...document.querySelectorAll(".plot")];
const dark = matchMedia("(prefers-color-scheme: dark)");
const content = id => JSON.parse(document.getElementById(id).textContent);
function screenTheme() {
  const style = getComputedStyle(document.documentElement);
  return {ink: style.getPropertyValue("--ink").trim(), ground: style.getPropertyValue("--ground").trim(), fixed: {}};
}

// A line must stand out from its ground by 2.5 (WCAG's contrast); one that does not is mixed with ink until it does.
const rgb = colour => /^#[0-9a-f]{6}$/i.test(colour)
  ? [1, 3, 5].map(i => parseInt(colour.slice(i, i + 2), 16))
  : /^rgb\((\d+), ?(\d+), ?(\d+)\)$/.exec(colour)?.slice(1).map(Number);
const linear = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
function contrast(a, b) {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}
function legible(colour, {ink, ground}) {
  const [own, full, under] = [colour, ink, ground].map(rgb);
  if (!own) return colour;
  for (let share = 0; share < 1; share += 0.05) {
    const mixed = own.map((c, i) => Math.round(c + share * (full[i] - c)));
    if (contrast(mixed, under) >= 2.5) return `rgb(${mixed.join(", ")})`;
  }
  return ink;
}
function inked(trace, theme) {
  const shown = {...trace};
  if (trace.type === "table") for (const part of ["header", "cells"]) {
    const own = trace[part]?.fill; // made for paper, where it is set at all
    const words = {...trace[part]?.font, color: own ? PAPER.ink : theme.ink};
    shown[part] = {...trace[part], fill: own ?? {color: CLEAR}, line: {color: "#888888"}, font: words};
  }
  for (const part of ["line", "marker"]) {
    if (trace[part]?.color) shown[part] = {...trace[part], color: legible(trace[part].color, theme)};
  }
  return shown;
}

// A specification in the colours of a ground. Annotations may have a colour of their own, which is made for neither.
function themed({data, layout, frames}, theme) {
  const margin = layout.updatemenus?.length ? {...layout.margin, t: Math.min(50, layout.margin?.t ?? 50)} : layout.margin;
  const notes = (layout.annotations ?? []).map(note => ({...note, font: {...note.font, color: theme.ink}}));
  return {
    data: data.map(trace => inked(trace, theme)),
    layout: {
      ...layout, font: {...layout.font, color: theme.ink}, annotations: notes, margin,
      paper_bgcolor: CLEAR, plot_bgcolor: CLEAR, updatemenus: [], ...theme.fixed,
    },
    frames,
    config: {...content("plot.config"), responsive: !theme.fixed.width, modeBarButtonsToRemove: ["toImage"]},
  };
}

// Plotly's menus know no keyboard: real ones stand above the plot, and all that is drawn is as chosen there.
function addMenus(plot) {
  for (const {buttons, active} of content(plot.dataset.spec).layout.updatemenus ?? []) {
    const label = Object.assign(document.createElement("label"), {className: "choose", textContent: "Show "});
    const select = label.appendChild(document.createElement("select"));
    select.setAttribute("aria-label", `Show in ${plot.closest("figure").querySelector("h3").textContent}`);
    for (const button of buttons) select.add(new Option(button.label));
    Object.assign(select, {buttons, selectedIndex: Math.max(0, active ?? 0)});
    select.addEventListener("change", () => draw(plot));
    plot.before(label);
  }
}
const changed = (object, [key, ...rest], value) => (
  {...object, [key]: rest.length ? changed(object?.[key], rest, value) : value}
);
// As Plotly.update would: a list has a value for each trace, and a dot leads into what a trace or the layout holds.
function specification(plot) {
  let {data, layout, frames} = content(plot.dataset.spec);
  for (const {buttons, selectedIndex} of plot.parentElement.querySelectorAll("label.choose select")) {
    const [traces, whole] = buttons[selectedIndex].args ?? [];
    for (const [path, value] of Object.entries(traces ?? {})) {
      const own = i => Array.isArray(value) ? value[i % value.length] : value;
      data = data.map((trace, i) => changed(trace, path.split("."), own(i)));
    }
    for (const [path, value] of Object.entries(whole ?? {})) layout = changed(layout, path.split("."), value);
  }
  return {data, layout, frames};
}
// Seven stops of the tabulator in every plot are too many: arrow keys and the buttons below it do for a keyboard.
const skipToolbar = plot => plot.querySelectorAll(".modebar-btn").forEach(button => { button.tabIndex = -1; });
function draw(plot, theme = screenTheme()) {
  const first = !isDrawn(plot);
  plot.dataset.drawn = "yes";
  if (first) addMenus(plot);
  Plotly.react(plot, themed(specification(plot), theme));
  skipToolbar(plot);
  if (first) plot.on("plotly_afterplot", () => skipToolbar(plot)); // which may have made it anew
}
const isDrawn = plot => plot.dataset.drawn;
const drawOnce = plot => isDrawn(plot) || draw(plot);

// What is in view is drawn at once, the rest while the reader reads: a search finds the words of every figure.
const seen = new IntersectionObserver(entries => {
  for (const entry of entries) if (entry.isIntersecting) drawOnce(entry.target);
}, {rootMargin: "600px"});
plots.forEach(plot => seen.observe(plot));
const idle = window.requestIdleCallback ?? (task => setTimeout(task, 50));
const drawRest = () => {
  const next = plots.find(plot => !isDrawn(plot));
  if (next) { draw(next); idle(drawRest); }
};
idle(drawRest);
dark.addEventListener("change", () => plots.filter(isDrawn).forEach(plot => draw(plot)));

// Paper is white, as wide as it is, and cannot be unfolded.
addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details.more:not([open])")) { fold.open = true; fold.dataset.printed = "yes"; }
  plots.forEach(plot => draw(plot, PAPER));
});
addEventListener("afterprint", () => {
  for (const fold of document.querySelectorAll("details[data-printed]")) { fold.open = false; delete fold.dataset.printed; }
  plots.forEach(plot => draw(plot));
});

const unpacked = column => Array.isArray(column) ? column : column.index.map(i => column.words[i]);
function tableOf(plot) {
  const {header, columns} = content(plot.dataset.table);
  const whole = columns.map(unpacked);
  return [header, ...(whole[0] ?? []).map((_, row) => whole.map(column => column[row]))];
}
// A cell that holds a comma, a quote or a line break is quoted (RFC 4180).
const cell = value => /[",\r\n]/.test(value ?? "") ? `"${String(value).replaceAll('"', '""')}"` : String(value ?? "");
const csv = plot => tableOf(plot).map(row => row.map(cell).join(",")).join("\r\n") + "\r\n";

function save(text, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: "text/csv;charset=utf-8"}));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

function take(plot, kind) {
  const filename = plot.id.replace(/^(plot|rows)-/, "");
  if (kind === "csv") return save(csv(plot), `${filename}.csv`);
  // As on paper, whatever the page looks like now.
  const {data, layout} = themed(specification(plot), PAPER);
  const size = {width: 900, height: layout.height ?? 450};
  const figure = {data, layout: {...layout, ...size, paper_bgcolor: PAPER.ground}};
  return Plotly.downloadImage(figure, {...size, format: kind, filename, scale: kind === "png" ? 3 : 1});
}
for (const button of document.querySelectorAll("button[data-take]")) {
  button.addEventListener("click", () => take(document.getElementById(button.dataset.plot), button.dataset.take));
}

const SHOWN = 500;
for (const values of document.querySelectorAll("details.values")) {
  values.addEventListener("toggle", () => {
    if (!values.open || values.querySelector("table")) return;
    const [header, ...rows] = tableOf(document.getElementById(values.dataset.plot));
    const region = document.createElement("div");
    Object.assign(region, {className: "scroll", tabIndex: 0, role: "region"});
    region.setAttribute("aria-label", values.querySelector("summary").textContent);
    const table = region.appendChild(document.createElement("table"));
    if (rows.length > SHOWN) table.createCaption().textContent = `The first ${SHOWN} of ${rows.length} rows; the CSV has all.`;
    const head = table.createTHead().insertRow();
    for (const name of header) head.appendChild(Object.assign(document.createElement("th"), {scope: "col", textContent: name}));
    const body = table.createTBody();
    for (const row of rows.slice(0, SHOWN)) {
      const line = body.insertRow();
      for (const value of row) line.insertCell().textContent = value ?? "";
    }
    values.append(region);
  });
}

// A plot by keyboard: one value after the other, or the first of another series.
const SIDE = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1};
for (const plot of plots) {
  let at = -1, table;
  plot.addEventListener("keydown", event => {
    const side = SIDE[event.key];
    if (!side || event.target !== plot) return;
    event.preventDefault();
    const [header, ...rows] = table ??= tableOf(plot);
    const keys = ["series", "choice", "panel"].map(name => header.indexOf(name));
    const series = row => JSON.stringify(keys.map(key => row?.[key]));
    const across = event.key === "ArrowUp" || event.key === "ArrowDown";
    const from = series(rows[at]);
    do at += side; while (across && rows[at] && series(rows[at]) === from);
    at = Math.max(0, Math.min(rows.length - 1, at));
    const words = header.flatMap((name, i) => rows[at]?.[i] == null ? [] : `${name}: ${rows[at][i]}`);
    plot.parentElement.querySelector(".reading").textContent = `${words.join("; ")} (${at + 1} of ${rows.length})`;
  });
}
