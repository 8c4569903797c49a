"use strict";
// What pages gain from a script; each is whole without.
// Graphs: the table of nodes and edges that a page holds is laid out by dagre and drawn above it, each node a link.
const NS = "http://www.w3.org/2000/svg";

function add(parent, name, attributes, text) {
  const made = document.createElementNS(NS, name);
  for (const key in attributes) made.setAttribute(key, attributes[key]);
  if (text !== undefined) made.textContent = text;
  parent.appendChild(made);
  return made;
}

function cut(text, most) {
  return text.length > most ? text.slice(0, most - 1) + "…" : text;
}

function drawGraph(place) {
  const data = JSON.parse(place.dataset.graph);
  if (!data.nodes.length || place.firstElementChild) return;
  const graph = new dagre.graphlib.Graph();
  graph.setGraph({rankdir: "LR", nodesep: 14, ranksep: 46, marginx: 8, marginy: 8});
  graph.setDefaultEdgeLabel(() => ({}));
  for (const node of data.nodes) {
    const width = 26 + 7.2 * Math.max(cut(node.name, 34).length, node.kind.length);
    graph.setNode(node.id, {...node, width, height: 46});
  }
  for (const [from, to] of data.edges) graph.setEdge(from, to);
  dagre.layout(graph);
  const {width, height} = graph.graph();
  const svg = add(place, "svg", {viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": data.label});
  for (const edge of graph.edges()) {
    const points = graph.edge(edge).points.map((point) => `${point.x.toFixed(1)} ${point.y.toFixed(1)}`);
    add(svg, "path", {d: `M${points.join("L")}`, class: "edge"});
  }
  for (const id of graph.nodes()) {
    const node = graph.node(id), left = node.x - node.width / 2, top = node.y - node.height / 2;
    const link = add(svg, "a", {href: node.href, class: node.here ? "here" : node.mark || "", "aria-label": `${node.kind} ${node.name}`});
    add(link, "title", {}, `${node.kind} ${node.name}`);
    add(link, "rect", {x: left, y: top, width: node.width, height: node.height, rx: 7});
    add(link, "text", {x: left + 12, y: top + 18, "font-size": 10.5}, node.kind);
    add(link, "text", {x: left + 12, y: top + 34, "font-size": 12.5, "font-weight": 600}, cut(node.name, 34));
  }
}

function begin() {
  for (const part of document.querySelectorAll("[data-needs-script]")) part.hidden = false;
  for (const place of document.querySelectorAll("[data-graph]")) drawGraph(place);
  // tables and charts that are wider than the screen scroll by keys, too
  for (const box of document.querySelectorAll(".scroll, .chart, .graph, pre")) {
    if (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight) box.tabIndex = 0;
  }
}

begin();
document.addEventListener("htmx:afterSettle", begin);
