// The boot chain as a picture: who starts whom from left to right, each component with how it compares.

import { badge, el, hex, hexWhole, said } from "./parts.js";

const TITLES = {
  boot: ["Boot stage", "starts first, on what it finds there"],
  manager: ["Partition manager", "starts and separates the partitions"],
  partition: ["Partitions", "what runs on top"],
};

/** Of a result's components, in the order of the token. */
export function picture(components) {
  if (!components.length) {
    return el("p", { class: "quiet" }, "Nothing is known of the components: this result says none, or an older release kept it.");
  }
  const registers = components.filter((one) => one.stage === "register");
  const others = components.filter((one) => one.stage !== "register");
  return el(
    "div",
    { class: "picture" },
    others.length || !registers.length ? chain(others) : null,
    registers.length ? el("div", { class: "registers" }, stageHead("Registers of the TPM", "each sums up what was measured into it"), nodes(registers)) : null,
  );
}

function chain(components) {
  return el(
    "ol",
    { class: "chain" },
    Object.entries(TITLES).map(([stage, [title, words]]) => {
      const mine = components.filter((one) => one.stage === stage);
      const absent = el("p", { class: "node absent" }, "The token reports no component of this stage.");
      return el("li", { class: `stage ${stage}` }, stageHead(title, words), mine.length ? nodes(mine) : absent);
    }),
  );
}

function stageHead(title, words) {
  return el("div", { class: "stage-head" }, el("h3", {}, title), el("p", { class: "quiet" }, words));
}

function nodes(components) {
  return el("ul", { class: "nodes" }, components.map((one) => el("li", {}, node(one))));
}

function node(one) {
  return el(
    "article",
    { class: `node ${one.match}`, "data-component": one.name },
    el("header", {}, el("h4", {}, said(one.name)), badge(one.match)),
    one.match === "missing" ? el("p", {}, "The device does not report it.") : facts(one),
    one.known.length && one.match !== "matched" ? expected(one.known[0], one.known.length) : null,
    el("details", {}, el("summary", { "data-key": `digits-${one.name}` }, "All digits"), whole(one)),
  );
}

function facts(one) {
  return el(
    "dl",
    { class: "facts" },
    pair("Version", one.version ? said(one.version) : el("span", { class: "quiet" }, "not said")),
    pair("Measurement", hex(one.measurement, 12)),
    pair("Signer", signer(one.signer_id)),
  );
}

function signer(digits) {
  if (digits && /^0+$/.test(digits)) return el("span", { class: "quiet" }, "nobody");
  return hex(digits, 12);
}

function expected(known, number) {
  const more = number > 1 ? ` and ${number - 1} more` : "";
  return el(
    "p",
    { class: "expected" },
    el("b", {}, "Known: "),
    known.version ? [said(known.version), " "] : null,
    hex(known.measurement, 12),
    more,
  );
}

function whole(one) {
  return el(
    "dl",
    { class: "digits" },
    pair("Measurement", hexWhole(one.measurement)),
    pair("Signer", hexWhole(one.signer_id)),
    one.known.map((known) => [
      pair(["Known", known.version ? [" ", said(known.version)] : null], hexWhole(known.measurement)),
      pair("by signer", hexWhole(known.signer_id)),
    ]),
  );
}

function pair(term, value) {
  return el("div", {}, el("dt", {}, term), el("dd", {}, value));
}
