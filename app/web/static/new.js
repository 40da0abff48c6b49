// The form and the JSON are two views of the same request. Only the server validates it.

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
const earlierChoices = new Map();

/** Milliseconds after the last change until the cost is requested. */
const DEBOUNCE = 400;

let request = {};
let timer;
let latest = 0;
let key = null;

/** Shows only the fields of the selected kinds. */
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

/** Updates the form from the JSON. While the JSON is invalid, the form is disabled so that no input is lost. */
function fromJson() {
  clearFaults();
  try {
    const parsed = JSON.parse(text.value);
    if (!isObject(parsed)) throw new SyntaxError("a request must be an object, { … }");
    request = parsed;
    fields.disabled = false;
    showFields();
    later();
  } catch (error) {
    fields.disabled = true;
    stop();
    markFaults([{ loc: "", msg: `Invalid JSON: ${error.message}. The form is disabled until it is valid.` }]);
    tell("Available when the JSON is valid.");
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

/** Adds the kind to the model or the data as soon as one of its other fields is set. */
function nameKind(field) {
  const pointer = field.closest("[data-of]")?.dataset.of;
  if (!pointer || at(request, pointer)?.kind) return;
  const choice = fields.querySelector(`[data-kinds="${CSS.escape(pointer)}"]`);
  const start = JSON.parse(choice.selectedOptions[0].dataset.start);
  request = put(request, pointer, { ...start, ...at(request, pointer) });
}

/** Changes the kind of the model or the data. The input for each kind is kept. */
function changeKind(choice) {
  const pointer = choice.dataset.kinds;
  const before = at(request, pointer);
  if (before) earlierChoices.set(`${pointer} ${before.kind}`, before);
  const start = JSON.parse(choice.selectedOptions[0].dataset.start);
  request = put(request, pointer, earlierChoices.get(`${pointer} ${choice.value}`) ?? start);
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
  clearTimeout(timer);
  latest += 1;
}

function later() {
  stop();
  key = null;
  timer = setTimeout(estimate, DEBOUNCE);
}

async function estimate() {
  const current = latest;
  const response = await post("/benchmarks?validate_only=true").catch(() => null);
  const body = await response?.json().catch(() => null);
  if (current !== latest) return;
  if (response?.ok) {
    clearFaults();
    showCost(body);
  } else if (response?.status === 422) {
    markFaults(body.errors);
    tell("Available when the request is valid.");
  } else tell(body?.detail ?? "The server does not respond.");
}

/** Submits the request. A retry has the same idempotency key, so that it does not create a second benchmark. */
async function submit() {
  stop();
  key ??= `form-${Date.now()}-${Math.random()}`;
  const response = await post("/benchmarks", { "Idempotency-Key": key }).catch(() => null);
  const body = await response?.json().catch(() => null);
  if (response?.ok) {
    key = null;
    location.assign(`/ui${response.headers.get("Location")}`);
  } else {
    announce(body ?? { detail: "The server does not respond. Your input is kept; try again." });
    tell("Available when the request is valid.");
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
fields.addEventListener("change", showFields);
window.addEventListener("pageshow", fromJson);

fields.hidden = false;
document.querySelector("#estimate").hidden = false;
