// Which view is shown, where its answers come from, and whose token is sent along.

import { ago, el, setClock } from "./parts.js";
import { device, fleet, rollout } from "./views.js";

const TOKEN = "edgeroot.viewer-token";
const REFRESH_MS = 30_000;
const main = document.getElementById("main");
const announcer = document.getElementById("announce");
const updated = document.getElementById("updated");
const forget = document.getElementById("forget");
let asking = 0;
let shown = { hash: null, text: null };

class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** View, name and query of the address after its #. */
function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const found = /^device\/((?:[0-9a-fA-F]{2}){1,64})$/.exec(path);
  const at = { name: found ? found[1].toLowerCase() : "", query: new URLSearchParams(query) };
  if (found) return { view: device, ...at };
  return { view: { "": fleet, devices: fleet, rollout }[path] ?? null, ...at };
}

async function ask(path) {
  const token = sessionStorage.getItem(TOKEN);
  let answer;
  try {
    answer = await fetch(path, { headers: token ? { authorization: `Bearer ${token}` } : {}, cache: "no-store", credentials: "omit", redirect: "error" });
  } catch {
    throw new Refused(0, "The verifier does not answer.");
  }
  let told;
  try {
    told = await answer.json();
  } catch {
    throw new Refused(answer.status, "The verifier's answer is not understood.");
  }
  if (!answer.ok) throw new Refused(answer.status, String(told.detail ?? "The verifier refuses."));
  return told;
}

/** Ask and show. `quietly`: the same view once more, which is built anew only if something changed. */
async function show(quietly = false) {
  const mine = ++asking;
  const { view, ...at } = place();
  if (view === null) return put([el("h1", { tabindex: "-1" }, "Nothing here"), el("p", {}, el("a", { href: "#/" }, "To the fleet"))], "Nothing here");
  mark(view);
  main.setAttribute("aria-busy", "true");
  try {
    const answers = await Promise.all(view.asks(at.name, at.query).map(ask));
    if (mine !== asking) return undefined;
    setClock(answers[0].at);
    updated.textContent = new Date().toLocaleTimeString("en-GB");
    const text = JSON.stringify(answers.map((one) => ({ ...one, at: null })));
    const same = shown.hash === location.hash;
    if (quietly && same && shown.text === text) retime();
    else {
      put(view.build(answers, at), view.title(at.name), same);
      if (quietly && same) announce(`Something changed. ${view.spoken(answers)}`);
      else announce(view.spoken(answers));
    }
    shown = { hash: location.hash, text };
  } catch (error) {
    if (mine !== asking) return undefined;
    if (!(error instanceof Refused)) throw error;
    shown = { hash: null, text: null };
    refused(error);
  } finally {
    if (mine === asking) main.removeAttribute("aria-busy");
    forget.hidden = sessionStorage.getItem(TOKEN) === null;
  }
  return undefined;
}

/** Put a view in place; focus goes to its heading, or stays where it was if the view is the same. */
function put(content, title, stay = false) {
  const focused = document.activeElement?.dataset?.key ?? null;
  const typed = document.getElementById("search")?.value;
  const open = [...main.querySelectorAll("details[open] > summary")].map((one) => one.dataset.key).filter(Boolean);
  main.replaceChildren(...content.flat(Infinity).filter((one) => one instanceof Node));
  document.title = `${title} – edgeroot verifier`;
  if (!stay) {
    scrollTo(0, 0);
    if (shown.hash !== null || focused) main.querySelector("h1")?.focus({ preventScroll: true });
    return;
  }
  for (const key of open) main.querySelector(`summary[data-key="${CSS.escape(key)}"]`)?.parentElement.setAttribute("open", "");
  if (focused) main.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  if (focused === "search" && typed !== undefined) document.getElementById("search").value = typed;
}

function mark(view) {
  for (const one of document.querySelectorAll(".views a")) {
    if (one.id === view.nav) one.setAttribute("aria-current", "page");
    else one.removeAttribute("aria-current");
  }
}

function retime() {
  for (const one of main.querySelectorAll("time")) one.textContent = ago(one.dateTime);
}

function announce(text) {
  announcer.textContent = text;
}

function refused(error) {
  if (error.status === 401) return askForToken();
  const again = el("button", { type: "button", click: () => show() }, "Try again");
  const words = { 0: "No answer", 403: "Not shown to you", 404: "Not there", 400: "Not understood" }[error.status] ?? "It did not work";
  put([el("section", { class: "gate" }, el("h1", { tabindex: "-1" }, words), el("p", { class: "notice" }, error.message), el("p", { class: "actions" }, again, el("a", { href: "#/" }, "To the fleet")))], words);
  announce(`${words}. ${error.message}`);
  return undefined;
}

/** Once a session: the token is kept until the tab is closed, and sent to this verifier only. */
function askForToken() {
  const wrong = sessionStorage.getItem(TOKEN) !== null;
  sessionStorage.removeItem(TOKEN);
  const field = el("input", { id: "token", type: "password", autocomplete: "off", spellcheck: "false", required: true, "aria-describedby": "token-words" });
  const submit = (event) => {
    event.preventDefault();
    const token = field.value.trim();
    if (!/^[\x21-\x7e]+$/.test(token)) return says("A token is one word of ASCII characters.");
    sessionStorage.setItem(TOKEN, token);
    return show();
  };
  const words = el("p", { id: "token-words", class: "notice", role: "alert", hidden: !wrong }, "The verifier does not accept this token. It takes its viewer token, not the one for provisioning.");
  const says = (text) => {
    words.textContent = text;
    words.hidden = false;
  };
  put(
    [
      el(
        "form",
        { class: "gate", submit },
        el("h1", { tabindex: "-1" }, "Who looks?"),
        el("p", {}, "The fleet is shown to whoever has the verifier's viewer token. It is kept until this tab is closed."),
        words,
        el("label", { for: "token" }, "Viewer token"),
        field,
        el("p", { class: "actions" }, el("button", { type: "submit", class: "first" }, "Show the fleet")),
      ),
    ],
    "Viewer token",
  );
  field.focus();
}

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
document.getElementById("refresh").addEventListener("click", () => show(true));
forget.addEventListener("click", () => {
  sessionStorage.removeItem(TOKEN);
  main.replaceChildren();
  show();
});
addEventListener("hashchange", () => show());
setInterval(() => {
  if (!document.hidden && shown.hash !== null) show(true);
}, REFRESH_MS);
show();
