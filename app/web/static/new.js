// The form and the JSON beside it are two views of one request. What is valid, the server alone says.

import { costLines, warningLines } from "./cost.js";
import { announce, clearFaults, markFaults } from "./faults.js";
import { read, show } from "./fields.js";
import { at, isObject, put } from "./pointer.js";

const form = document.querySelector("#new");
const fields = document.querySelector("#fields");
const text = document.querySelector("#request");
const cost = document.querySelector("#cost");
const button = document.querySelector("#submit");
const controls = [...fields.querySelectorAll("[data-control]")];
const chosenBefore = new Map();

/** Milliseconds without a change after which the server is asked. */
const PAUSE = 400;

let request = {};
let due;
let asked = 0;
let key = null;

/** The fields of the kind that is chosen, and no others. */
function showKinds() {
  for (const choice of fields.querySelectorAll("[data-kinds]")) {
    for (const variant of fields.querySelectorAll(`[data-of="${choice.dataset.kinds}"]`)) {
      variant.hidden = variant.dataset.kind !== choice.value;
    }
  }
}

function showFields() {
  for (const field of controls) show(field, at(request, field.dataset.pointer));
  showKinds();
}

/** Takes over what the JSON says. While it cannot be read the fields wait, so that nothing written is lost. */
function fromJson() {
  clearFaults();
  try {
    const parsed = JSON.parse(text.value);
    if (!isObject(parsed)) throw new SyntaxError("a request is an object, { … }");
    request = parsed;
    fields.disabled = false;
    showFields();
    later();
  } catch (error) {
    fields.disabled = true;
    stop();
    markFaults([{ loc: "", msg: `This is not JSON yet, and the form waits for it: ${error.message}` }]);
    tell("Waits for the JSON.");
  }
}

function fromField(field) {
  if (field.dataset.kinds) changeKind(field);
  else {
    const value = read(field);
    if (value !== undefined) nameKind(field);
    request = put(request, field.dataset.pointer, value);
  }
  text.value = JSON.stringify(request, null, 2);
  later();
}

/** What has kinds has to say which, as soon as it says anything. */
function nameKind(field) {
  const pointer = field.closest("[data-of]")?.dataset.of;
  if (!pointer || at(request, pointer)?.kind) return;
  const choice = fields.querySelector(`[data-kinds="${CSS.escape(pointer)}"]`);
  const start = JSON.parse(choice.selectedOptions[0].dataset.start);
  request = put(request, pointer, { ...start, ...at(request, pointer) });
}

/** Each kind keeps what was written for it. */
function changeKind(choice) {
  const pointer = choice.dataset.kinds;
  const before = at(request, pointer);
  if (before) chosenBefore.set(`${pointer} ${before.kind}`, before);
  const start = JSON.parse(choice.selectedOptions[0].dataset.start);
  request = put(request, pointer, chosenBefore.get(`${pointer} ${choice.value}`) ?? start);
  showFields();
}

const paragraphs = (lines, className = "") =>
  lines.map((textContent) => Object.assign(document.createElement("p"), { textContent, className }));

function tell(...lines) {
  cost.replaceChildren(...paragraphs(lines));
}

function showCost(preview) {
  const facts = Object.assign(document.createElement("dl"), { className: "facts" });
  for (const [name, value] of costLines(preview)) {
    facts.append(Object.assign(document.createElement("dt"), { textContent: name }));
    facts.append(Object.assign(document.createElement("dd"), { textContent: value }));
  }
  cost.replaceChildren(facts, ...paragraphs(warningLines(preview), "notice"));
}

const post = (address, headers = {}) =>
  fetch(address, { method: "POST", body: text.value, headers: { "Content-Type": "application/json", ...headers } });

function stop() {
  clearTimeout(due);
  asked += 1;
}

function later() {
  stop();
  key = null;
  due = setTimeout(estimate, PAUSE);
}

async function estimate() {
  const mine = asked;
  const answer = await post("/benchmarks?validate_only=true").catch(() => null);
  const said = await answer?.json().catch(() => null);
  if (mine !== asked) return;
  if (answer?.ok) {
    clearFaults();
    showCost(said);
  } else if (answer?.status === 422) {
    markFaults(said.errors);
    tell("Known when the request is valid.");
  } else tell(said?.detail ?? "The server does not answer.");
}

/** A second attempt of the same request makes no second benchmark: it has the same key. */
async function submit() {
  stop();
  key ??= `form-${Date.now()}-${Math.random()}`;
  const answer = await post("/benchmarks", { "Idempotency-Key": key }).catch(() => null);
  const said = await answer?.json().catch(() => null);
  if (answer?.ok) {
    key = null;
    location.assign(`/ui${answer.headers.get("Location")}`);
  } else {
    announce(said ?? { detail: "The server does not answer. Nothing is lost: try again." });
    tell("Known when the request is valid.");
  }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (fields.disabled) return text.focus();
  if (button.ariaBusy === "true") return;
  button.ariaBusy = "true";
  await submit().finally(() => { button.ariaBusy = "false"; });
});
text.addEventListener("input", fromJson);
fields.addEventListener("input", (event) => fromField(event.target.closest("[data-control]")));
fields.addEventListener("change", (event) => {
  const field = event.target.closest("[data-control]");
  show(field, at(request, field.dataset.pointer));
});
window.addEventListener("pageshow", fromJson);

fields.hidden = false;
document.querySelector("#estimate").hidden = false;
