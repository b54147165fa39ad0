// The small parts that views are made of. What comes from devices goes through text nodes only.

const SVG = "http://www.w3.org/2000/svg";
const COUNT = new Intl.NumberFormat("en");
const LONGEST = 300;
let ahead_ms = 0;

/** An element. Attributes by name; functions are listeners; false and null are left out. Links stay on this page. */
export function el(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(name, value);
    else if (name === "href" && !String(value).startsWith("#")) throw new Error("a link leaves the page");
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Text of a device's or an operator's as it can be shown: bounded, and nothing in it invisible or turning the line. */
export function plain(text) {
  const shown = String(text).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (one) => `\\u{${one.codePointAt(0).toString(16)}}`);
  return shown.length > LONGEST ? `${shown.slice(0, LONGEST)} …` : shown;
}

/** The same as an element whose direction stays inside. */
export function said(text, attributes = {}) {
  return el("bdi", attributes, plain(text));
}

/** The same in a list: long digits only begin. */
export function brief(text) {
  return said(String(text).replace(/\b[0-9a-f]{24,}\b/g, (digits) => `${digits.slice(0, 12)}…`));
}

export function count(number) {
  return COUNT.format(number);
}

export function devices(number) {
  return number === 1 ? "1 device" : `${count(number)} devices`;
}

export function share(part, whole) {
  if (!whole || !part) return "0 %";
  const percent = (100 * part) / whole;
  if (percent < 1) return "< 1 %";
  return percent > 99 && part < whole ? "> 99 %" : `${Math.round(percent)} %`;
}

/** Digits in hexadecimal, the first of them; all where somebody points at them. */
export function hex(text, digits = 16) {
  if (!text) return el("span", { class: "quiet" }, "none");
  const short = text.length > digits + 4 ? `${text.slice(0, digits)}…` : text;
  return el("code", { class: "hex", title: text }, short);
}

export function hexWhole(text) {
  return text ? el("code", { class: "hex whole" }, text) : el("span", { class: "quiet" }, "none");
}

/** The clock of the verifier, which times are compared with. */
export function setClock(at) {
  ahead_ms = Date.parse(at) - Date.now();
}

export function when(at) {
  if (!at) return el("span", { class: "quiet" }, "never");
  return el("time", { datetime: at, title: stamp(at) }, ago(at));
}

export function stamp(at) {
  return at.replace("T", " ").replace("Z", " UTC");
}

export function ago(at) {
  const seconds = Math.max(0, (Date.now() + ahead_ms - Date.parse(at)) / 1000);
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ago`;
  return `${count(Math.floor(seconds / 86400))} days ago`;
}

// Each has a shape of its own, so that none is told by its colour alone.
const SHAPES = {
  affirming: ["M8 1a7 7 0 1 1 0 14A7 7 0 0 1 8 1z", "M4.8 8.2l2.2 2.3 4.2-4.6"],
  warning: ["M8 1.2L15.4 14.4H.6z", "M8 6v4M8 12v.4"],
  contraindicated: ["M5.1 1h5.8L15 5.1v5.8L10.9 15H5.1L1 10.9V5.1z", "M5.4 5.4l5.2 5.2M10.6 5.4l-5.2 5.2"],
  none: ["M8 1l7 7-7 7-7-7z", "M6.3 6.4a1.8 1.8 0 1 1 2.4 1.7c-.5.2-.7.5-.7 1M8 11.2v.3"],
  "not-seen": ["M1 8c2-3.4 4.3-5 7-5s5 1.6 7 5c-2 3.4-4.3 5-7 5s-5-1.6-7-5z", "M3 14L13 2"],
  matched: ["M8 1a7 7 0 1 1 0 14A7 7 0 0 1 8 1z", "M4.8 8.2l2.2 2.3 4.2-4.6"],
  "not-matched": ["M5.1 1h5.8L15 5.1v5.8L10.9 15H5.1L1 10.9V5.1z", "M4.5 6.5h7M4.5 9.5h7M10 4l-4 8"],
  extra: ["M1 1h14v14H1z", "M8 4.5v7M4.5 8h7"],
  missing: ["M1 1h14v14H1z", "M4.5 8h7"],
  revoked: ["M8 1a7 7 0 1 1 0 14A7 7 0 0 1 8 1z", "M3.6 3.6l8.8 8.8"],
};

export function icon(kind) {
  const [outline, sign] = SHAPES[kind] ?? SHAPES.none;
  const lines = [svg("path", { class: "outline", d: outline }), svg("path", { class: "sign", d: sign })];
  return svg("svg", { class: `icon ${kind}`, viewBox: "0 0 16 16", "aria-hidden": "true", focusable: "false" }, lines);
}

export const WORDS = {
  affirming: "Affirmed",
  warning: "Warned",
  contraindicated: "Contraindicated",
  none: "No verdict",
  "not-seen": "Not seen",
  matched: "Matched",
  "not-matched": "Not matched",
  extra: "Extra",
  missing: "Missing",
  revoked: "Revoked",
};

/** A status in a shape and a word. */
export function badge(kind, more = "") {
  return el("span", { class: `badge ${WORDS[kind] ? kind : "none"}` }, icon(kind), el("span", {}, WORDS[kind] ?? "Unknown"), more);
}

/** A table that stays one for those who listen, whatever the narrow layout makes of it. Rows are lists of contents. */
export function table(caption, heads, rows, attributes = {}) {
  const head = heads.map((one) => el("th", { scope: "col", role: "columnheader" }, one));
  const body = rows.map(({ cells, ...more }) =>
    el("tr", { role: "row", ...more }, cells.map((cell, at) => el("td", { role: "cell", "data-label": heads[at] }, el("div", {}, cell)))),
  );
  return el(
    "table",
    { role: "table", ...attributes },
    el("caption", { class: "unseen" }, caption),
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, head)),
    el("tbody", { role: "rowgroup" }, body),
  );
}

/** Parts of a whole as one bar. What it shows stands in words beside it. */
export function proportions(parts) {
  const shown = parts.filter(([, number]) => number > 0);
  return el(
    "div",
    { class: "proportions", "aria-hidden": "true" },
    shown.map(([kind, number]) => {
      const part = el("span", { class: `part ${kind}` });
      part.style.flexGrow = String(number);
      return part;
    }),
  );
}

export function link(view, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(given).toString();
  return text ? `#/${view}?${text}` : `#/${view}`;
}
