"use strict";
// Draws a column's plot when somebody looks at it: a page of 200 columns opens as fast as one of two.
const data = JSON.parse(document.getElementById("columns-data").textContent);
const panel = document.getElementById("columns");
const list = document.getElementById("columns-list");
const SVG = document.querySelector("svg").namespaceURI;
const W = 960, H = 170, L = 52, R = 14, T = 12, B = 24;

function element(parent, name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const key in attributes) made.setAttribute(key, attributes[key]);
  if (text !== undefined) made.textContent = text;
  parent.appendChild(made);
  return made;
}

function path(values, x, y) {
  let text = "", pen = "M";
  values.forEach((value, index) => {
    if (value === null) { pen = "M"; return; }
    text += pen + x(index).toFixed(1) + " " + y(value).toFixed(1);
    pen = "L";
  });
  return text;
}

function draw(column, box) {
  const svg = element(box, "svg", {viewBox: `0 0 ${W} ${H}`, role: "img"});
  svg.setAttribute("aria-label", `drift of ${column.name} over time`);
  const known = column.score.concat(column.threshold).filter((value) => value !== null);
  const top = Math.max(...known, 1e-9) * 1.08, count = data.at.length;
  const x = (index) => L + (W - L - R) * (count > 1 ? index / (count - 1) : 0.5);
  const y = (value) => H - B - (H - B - T) * value / top;
  for (const share of [0, 0.5, 1]) {
    const value = top / 1.08 * share;
    element(svg, "line", {x1: L, x2: W - R, y1: y(value), y2: y(value), stroke: "var(--line)"});
    element(svg, "text", {x: L - 8, y: y(value) + 4, "text-anchor": "end"}, value.toPrecision(2));
  }
  data.champions.forEach((version, index) => {
    if (index && version === data.champions[index - 1]) return;
    element(svg, "line", {x1: x(index), x2: x(index), y1: T, y2: H - B, stroke: "var(--faint)", "stroke-dasharray": "2 3"});
    element(svg, "text", {x: x(index), y: H - 6, "text-anchor": index ? "middle" : "start"}, `v${version}`);
  });
  element(svg, "path", {d: path(column.threshold, x, y), fill: "none", stroke: "var(--soft)", "stroke-dasharray": "5 4"});
  if (column.missing) {
    const share = (value) => H - B - (H - B - T) * value;
    element(svg, "path", {d: path(column.missing, x, share), fill: "none", stroke: "#8a6fc0", "stroke-dasharray": "1 3", "stroke-width": 2});
  }
  element(svg, "path", {d: path(column.score, x, y), fill: "none", stroke: "#3b7dc4", "stroke-width": 1.8});
  column.score.forEach((score, index) => {
    if (score === null) return;
    const flagged = column.flags[index] === "1";
    const dot = element(svg, "circle", {cx: x(index), cy: y(score), r: flagged ? 4.5 : 2.5, fill: flagged ? "#c0392b" : "#3b7dc4"});
    element(dot, "title", {}, `${data.at[index]}: score ${score}, threshold ${column.threshold[index]}` +
      (flagged ? ", flagged" : "") + (column.missing ? `, ${Math.round(column.missing[index] * 100)}% missing` : ""));
  });
}

function cell(row, text, kind) {
  const made = document.createElement("span");
  made.textContent = text;
  if (kind) made.className = kind;
  row.appendChild(made);
}

function fold(column) {
  const box = document.createElement("details"), row = document.createElement("summary");
  const last = column.score.length - 1, flagged = column.flags.split("1").length - 1;
  cell(row, column.name, "name");
  cell(row, column.importance === null ? "" : `importance ${(column.importance * 100).toFixed(1)}%`);
  cell(row, column.score[last] === null ? "not in the newest window" : `${column.score[last]} of ${column.threshold[last]}`);
  cell(row, flagged ? `flagged ${flagged} times` : "never flagged", flagged ? "chip bad" : "chip");
  cell(row, column.problem || "", "small");
  box.appendChild(row);
  box.addEventListener("toggle", () => { if (box.open && !box.querySelector("svg")) draw(column, box); });
  box.dataset.name = column.name.toLowerCase();
  return box;
}

function fill() {
  if (panel.open && !list.childElementCount) list.append(...data.columns.map(fold));
}

panel.addEventListener("toggle", fill);
fill();
document.getElementById("columns-filter").addEventListener("input", (event) => {
  const wanted = event.target.value.toLowerCase();
  for (const box of list.children) box.hidden = !box.dataset.name.includes(wanted);
});
