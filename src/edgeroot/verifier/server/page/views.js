// Each view: what it asks the verifier for, and what it makes of the answers.

import { WORDS, badge, brief, count, devices, el, hex, hexWhole, icon, link, plain, proportions, said, share, stamp, table, when } from "./parts.js";
import { picture } from "./picture.js";

const STANDINGS = ["affirming", "warning", "contraindicated", "none", "not-seen"];
const PROGRESS = { current: "Current", behind: "Behind", unknown: "Not as known", unreported: "Not reported" };
const PROGRESS_WORDS = {
  current: "everything they run is known, and the newest",
  behind: "something newer is known of what they run",
  unknown: "a component is not one that is known, is missing or was revoked",
  unreported: "no result says what they run",
};
const CHECKS = {
  format: "Format of the evidence",
  algorithm: "Algorithm",
  instance: "Identity of the device",
  signature: "Signature",
  nonce: "Freshness",
  implementation: "Implementation",
  revocation: "Revocation",
  boot: "Boots",
  profile: "Profile",
  lifecycle: "Life cycle",
  client: "Client",
  hardware: "Hardware",
  component: "Component",
  version: "Version",
  quote: "Quote",
  "event-log": "Event log",
};
const VECTOR = {
  "instance-identity": "Identity",
  configuration: "Configuration",
  executables: "Software",
  hardware: "Hardware",
};
const FILTERS = ["status", "search", "implementation", "progress", "component", "measurement"];

const title = (text, ...more) => el("div", { class: "title" }, el("h1", { tabindex: "-1" }, text), more);

// ---- The fleet ----

export const fleet = {
  nav: "nav-fleet",
  asks: (_name, query) => ["/fleet/v1/summary", `/fleet/v1/devices?${asked(query, [...FILTERS, "after", "before"])}`],
  title: () => "Fleet",
  spoken: ([summary, list]) =>
    `${devices(summary.devices)}: ` +
    `${STANDINGS.map((one) => `${summary.counts[one]} ${WORDS[one].toLowerCase()}`).join(", ")}. ${list.devices.length} listed.`,
  build([summary, list], { query }) {
    return [
      title("Fleet", el("p", { class: "quiet" }, `${devices(summary.devices)} endorsed. A result counts for ${hours(summary.window_s)}.`)),
      tiles(summary, query),
      search(query),
      chips(query),
      list.devices.length ? deviceTable(list.devices) : nobody(query),
      pages(query, list),
    ];
  },
};

function asked(query, names) {
  return new URLSearchParams(names.filter((name) => query.get(name)).map((name) => [name, query.get(name)])).toString();
}

function hours(seconds) {
  const number = Math.round(seconds / 360) / 10;
  return number === 1 ? "1 hour" : `${number} hours`;
}

function filters(query) {
  return Object.fromEntries(FILTERS.map((name) => [name, query.get(name)]));
}

function tiles(summary, query) {
  const { counts } = summary;
  return el(
    "section",
    { class: "glance", "aria-label": "How the devices stand" },
    el(
      "ul",
      { class: "tiles" },
      STANDINGS.map((one) => {
        const active = query.get("status") === one;
        const target = { ...filters(query), status: active ? null : one };
        return el(
          "li",
          {},
          el(
            "a",
            { class: `tile ${one}`, href: link("", target), "aria-current": active ? "true" : null, "data-key": `tile-${one}` },
            el("span", { class: "tile-head" }, icon(one), el("span", {}, WORDS[one])),
            el("strong", { "data-count": one }, count(counts[one])),
            el("span", { class: "quiet" }, share(counts[one], summary.devices)),
          ),
        );
      }),
    ),
    proportions(STANDINGS.map((one) => [one, counts[one]])),
  );
}

function search(query) {
  const field = el("input", {
    id: "search",
    name: "search",
    type: "search",
    value: query.get("search") ?? "",
    placeholder: "01a3f2…",
    autocomplete: "off",
    spellcheck: "false",
    inputmode: "text",
    maxlength: "128",
    "data-key": "search",
  });
  const submit = (event) => {
    event.preventDefault();
    const digits = field.value.replace(/[\s:]/g, "").toLowerCase();
    location.hash = link("", { ...filters(query), search: digits });
  };
  return el(
    "form",
    { class: "search", role: "search", submit },
    el("label", { for: "search" }, "Instance id begins with"),
    field,
    el("button", { type: "submit", "data-key": "find" }, "Find"),
  );
}

function chips(query) {
  const given = FILTERS.filter((name) => query.get(name));
  if (!given.length) return null;
  const shown = (name) => {
    const value = query.get(name);
    if (name === "status") return WORDS[value] ?? plain(value);
    if (name === "progress") return PROGRESS[value] ?? plain(value);
    return name === "component" ? plain(value) : hex(value, 12);
  };
  return el(
    "ul",
    { class: "chips", "aria-label": "Filters" },
    given.map((name) =>
      el(
        "li",
        {},
        el(
          "a",
          { class: "chip", href: link("", { ...filters(query), [name]: null }), "data-key": `chip-${name}` },
          el("span", {}, `${name}: `, shown(name)),
          el("span", { "aria-hidden": "true" }, "×"),
          el("span", { class: "unseen" }, "take this filter away"),
        ),
      ),
    ),
    el("li", {}, el("a", { href: "#/", "data-key": "chip-all" }, "Clear all")),
  );
}

function deviceTable(list) {
  const rows = list.map((one) => ({
    "data-device": one.instance_id,
    cells: [
      el("a", { href: link(`device/${one.instance_id}`), "data-key": `device-${one.instance_id}` }, hex(one.instance_id, 20)),
      badge(one.status),
      finding(one),
      when(one.last_seen),
      hex(one.implementation_id, 8),
    ],
  }));
  return table("Devices, those seen last first", ["Device", "Status", "Finding", "Last seen", "Implementation"], rows, { class: "devices" });
}

function finding(one) {
  if (one.status === "not-seen") {
    return one.verdict ? el("span", { class: "quiet" }, `last verdict: ${WORDS[one.verdict].toLowerCase()}`) : el("span", { class: "quiet" }, "nothing was heard of it");
  }
  if (!one.failed) return el("span", { class: "quiet" }, "every check passed");
  return [brief(one.why), one.failed > 1 ? el("span", { class: "more" }, `+${count(one.failed - 1)} more`) : null];
}

function nobody(query) {
  const filtered = FILTERS.some((name) => query.get(name));
  const words = filtered
    ? "No device is like that."
    : "No device is endorsed yet. Hand in a CoRIM with `edgeroot verifier submit`, and have a device attest.";
  return el("p", { class: "empty" }, words);
}

function pages(query, list) {
  if (!list.next && !list.previous) return null;
  const step = (words, name, place) =>
    place
      ? el("a", { class: "button", href: link("", { ...filters(query), [name]: place }), "data-key": `page-${name}` }, words)
      : el("span", { class: "button off", "aria-disabled": "true" }, words);
  return el("nav", { class: "pages", "aria-label": "Pages of the list" }, step("← Seen later", "before", list.previous), step("Seen earlier →", "after", list.next));
}

// ---- A device ----

export const device = {
  nav: "nav-fleet",
  asks: (name, query) => [`/fleet/v1/device/${name}?${asked(query, ["result", "before"])}`],
  title: (name) => `Device ${name.slice(0, 12)}`,
  spoken: ([found]) => `The device is ${WORDS[found.device.status].toLowerCase()}.`,
  build([found], { name, query }) {
    const { device: one, result } = found;
    const old = result && query.get("result");
    return [
      el("nav", { class: "crumbs", "aria-label": "Where this is" }, el("a", { href: "#/", "data-key": "crumb" }, "Fleet"), " / Device"),
      title(["Device ", hex(one.instance_id, 12)]),
      old ? pastNotice(name, result) : null,
      standing(found, old),
      result ? reasons(result) : el("p", { class: "empty" }, "The device is endorsed, but nothing was heard of it yet."),
      result ? el("section", {}, el("h2", {}, "Boot chain"), picture(result.components)) : null,
      result ? checks(result) : null,
      found.history.length ? history(found, { name, query }) : null,
    ];
  },
};

function pastNotice(name, result) {
  return el(
    "p",
    { class: "notice" },
    `This is a result of the past, from ${stamp(result.at)}. `,
    el("a", { href: link(`device/${name}`), "data-key": "last" }, "Show the last one"),
  );
}

function standing(found, old) {
  const { device: one, result } = found;
  const status = old ? result.verdict : one.status;
  const facts = [
    ["Instance id", hexWhole(one.instance_id)],
    ["Implementation", [hexWhole(one.implementation_id), " ", el("a", { href: link("rollout"), "data-key": "to-rollout" }, "Roll-out")]],
    ["Last seen", one.last_seen ? [when(one.last_seen), el("span", { class: "quiet" }, ` (${stamp(one.last_seen)})`)] : "never"],
    result ? ["Judged by policy", el("code", { class: "hex whole" }, plain(result.policy))] : null,
  ];
  return el(
    "section",
    { class: `standing ${status}` },
    el("div", { class: "verdict" }, icon(status), el("div", {}, el("strong", {}, WORDS[status]), el("p", {}, verdictWords(found, status)))),
    result ? vector(result.trustworthiness) : null,
    el("dl", { class: "facts wide" }, facts.filter(Boolean).map(([term, value]) => el("div", {}, el("dt", {}, term), el("dd", {}, value)))),
  );
}

function verdictWords(found, status) {
  if (found.revoked !== null) return ["The device was revoked: ", said(found.revoked)];
  if (status === "not-seen") {
    return found.result ? `The last result is too old to count. It said: ${WORDS[found.result.verdict].toLowerCase()}.` : "It never attested.";
  }
  return {
    affirming: "Everything that was checked is as it has to be.",
    warning: "Nothing refuses it, but something is to be looked at.",
    contraindicated: "It is not to be trusted, for the reasons below.",
    none: "Nobody has said what would be good, so there is no verdict.",
  }[status];
}

function vector(claims) {
  const tier = (value) => (value >= 96 ? "contraindicated" : value >= 32 ? "warning" : value >= 2 ? "affirming" : "none");
  const known = Object.keys(VECTOR).filter((name) => name in claims);
  return el(
    "ul",
    { class: "vector", "aria-label": "Trustworthiness vector" },
    known.map((name) => el("li", {}, el("span", {}, VECTOR[name]), badge(tier(claims[name])), el("span", { class: "quiet" }, ` ${claims[name]}`))),
  );
}

function reasons(result) {
  const failed = result.checks.filter((one) => !one.passed);
  if (!failed.length) return null;
  const refused = failed.filter((one) => !one.warning).length;
  const heading = refused ? "Why it is not trusted" : "What is to be looked at";
  return el("section", { id: "why" }, el("h2", {}, heading), el("ul", { class: "checks" }, failed.map(check)));
}

function check(one) {
  const kind = one.passed ? "affirming" : one.warning ? "warning" : "contraindicated";
  const word = one.passed ? "passed" : one.warning ? "warning" : "failed";
  return el(
    "li",
    { class: `check ${kind}` },
    icon(kind),
    el("span", { class: "check-name" }, CHECKS[one.check] ?? said(one.check)),
    el("span", { class: "check-words" }, said(one.words)),
    el("span", { class: "check-state" }, word),
  );
}

function checks(result) {
  const passed = result.checks.filter((one) => one.passed).length;
  return el(
    "details",
    { class: "all-checks" },
    el("summary", { "data-key": "all-checks" }, `All checks, in their order (${passed} of ${result.checks.length} passed)`),
    el("ul", { class: "checks" }, result.checks.map(check)),
  );
}

function history(found, { name, query }) {
  const rows = found.history.map((one) => ({
    "aria-current": found.result && found.result.number === one.number ? "true" : null,
    cells: [
      [el("a", { href: link(`device/${name}`, { result: one.number, before: query.get("before") }), "data-key": `result-${one.number}` }, stamp(one.at)), el("span", { class: "quiet" }, " ", when(one.at))],
      badge(one.verdict),
      one.failed ? [brief(one.why), one.failed > 1 ? el("span", { class: "more" }, `+${count(one.failed - 1)} more`) : null] : el("span", { class: "quiet" }, "every check passed"),
    ],
  }));
  const steps = el(
    "nav",
    { class: "pages", "aria-label": "Pages of the history" },
    query.get("before") ? el("a", { class: "button", href: link(`device/${name}`), "data-key": "newest" }, "← Newest") : null,
    found.next ? el("a", { class: "button", href: link(`device/${name}`, { before: found.next }), "data-key": "older" }, "Older →") : null,
  );
  return el(
    "section",
    {},
    el("h2", {}, "History"),
    el("p", { class: "quiet" }, `${count(found.device.results)} ${found.device.results === 1 ? "result is" : "results are"} kept.`),
    strip(found.history),
    table("Results, the newest first", ["When", "Verdict", "Finding"], rows, { class: "history" }),
    steps,
  );
}

/** The listed results from left to right, the oldest first: the worse, the taller. The table says the same in words. */
function strip(results) {
  return el("div", { class: "strip", "aria-hidden": "true" }, results.toReversed().map((one) => el("span", { class: one.verdict })));
}

// ---- The roll-out ----

export const rollout = {
  nav: "nav-rollout",
  asks: () => ["/fleet/v1/rollout"],
  title: () => "Roll-out",
  spoken: ([found]) => `${found.implementations.length} implementations.`,
  build([found]) {
    return [
      title("Roll-out", el("p", { class: "quiet" }, "What devices run by their last results, against what is endorsed now.")),
      found.implementations.length ? found.implementations.map(implementation) : el("p", { class: "empty" }, "Nothing is endorsed yet."),
    ];
  },
};

function implementation(one) {
  const id = one.implementation_id;
  const parts = Object.keys(PROGRESS).map((kind) => [kind, one.progress[kind]]);
  return el(
    "section",
    { class: "card", "data-implementation": id },
    el(
      "header",
      {},
      el("h2", {}, "Implementation ", hex(id, 12)),
      el("p", {}, el("a", { href: link("", { implementation: id }), "data-key": `all-${id}` }, devices(one.devices))),
    ),
    proportions(parts),
    el("ul", { class: "legend" }, parts.map(([kind, number]) => step(one, kind, number)), failedStep(one)),
    versions(one),
  );
}

function step(one, kind, number) {
  const target = link("", { implementation: one.implementation_id, progress: kind });
  const words = [el("strong", { "data-count": kind }, count(number)), ` ${PROGRESS[kind]}`];
  return el(
    "li",
    { class: kind, title: PROGRESS_WORDS[kind] },
    el("span", { class: `swatch ${kind}`, "aria-hidden": "true" }),
    number ? el("a", { href: target, "data-key": `${one.implementation_id}-${kind}` }, words) : el("span", {}, words),
    el("span", { class: "quiet" }, share(number, one.devices)),
  );
}

function failedStep(one) {
  const target = link("", { implementation: one.implementation_id, status: "contraindicated" });
  const words = [el("strong", { "data-count": "failed" }, count(one.failed)), " failed"];
  return el(
    "li",
    { class: "failed", title: "their last result is contraindicated, whatever they run" },
    icon("contraindicated"),
    one.failed ? el("a", { href: target, "data-key": `${one.implementation_id}-failed` }, words) : el("span", {}, words),
    el("span", { class: "quiet" }, share(one.failed, one.devices)),
  );
}

const STAGES = ["boot", "manager", "partition", "register"];

/** All components in the order of the boot chain, a group of rows each. */
function versions(one) {
  const parts = one.components.toSorted((a, b) => STAGES.indexOf(a.stage) - STAGES.indexOf(b.stage));
  const rows = parts.flatMap((part) =>
    part.versions.map((version, at) => ({
      class: at ? "again" : "begins",
      "data-component": part.name,
      "data-version": version.version,
      cells: [
        part.name ? said(part.name) : "any component",
        version.version ? said(version.version) : el("span", { class: "quiet" }, version.measurement ? "not said" : "any"),
        mark(version),
        version.measurement ? hex(version.measurement, 12) : el("span", { class: "quiet" }, "any"),
        running(one, part, version),
        failures(version),
      ],
    })),
  );
  if (!rows.length) return el("p", { class: "quiet" }, "Nobody says what it may run, and nothing was heard of what it runs.");
  return table("Versions, and how many devices run them", ["Component", "Version", "State", "Measurement", "Devices", "Failed"], rows, { class: "versions" });
}

function mark(version) {
  if (version.revoked !== null) return el("span", { class: "tag revoked" }, icon("revoked"), "Revoked: ", said(version.revoked));
  if (!version.known) return el("span", { class: "tag strange" }, icon("extra"), "Not known");
  if (version.newest === null || (version.newest && !version.version)) return el("span", { class: "tag" }, icon("matched"), "Known");
  return version.newest ? el("span", { class: "tag newest" }, icon("matched"), "Newest") : el("span", { class: "tag older" }, icon("warning"), "Behind");
}

function running(one, part, version) {
  const bar = el("span", { class: "meter", "aria-hidden": "true" }, el("span", {}));
  bar.firstChild.style.width = `${(100 * version.devices) / Math.max(1, one.devices)}%`;
  const target = link("", { implementation: one.implementation_id, component: part.name, measurement: version.measurement });
  const number = count(version.devices);
  const key = `${one.implementation_id}-${part.name}-${version.measurement}`;
  return [version.devices ? el("a", { class: "number", href: target, "data-key": key }, number) : el("span", { class: "number" }, number), bar];
}

function failures(version) {
  return version.failed ? el("span", { class: "failures" }, icon("contraindicated"), count(version.failed)) : el("span", { class: "quiet" }, "0");
}
