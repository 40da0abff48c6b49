// Shows the errors of a request at their fields and in a summary at the top.

const summary = document.querySelector("#faults");
const message = document.querySelector("#fault");
const list = document.querySelector("#fault-list");
const SLOTS = "#new [id$='-error']";

const slotOf = (element) => document.getElementById(`${element.id}-error`);
const inputOf = (element) => (element.matches("fieldset") ? element.querySelector("legend + span input") : element);

/** Returns the visible field of a pointer; without one, that of its nearest ancestor, or the JSON. */
function elementAt(pointer) {
  for (let here = pointer; here; here = here.slice(0, here.lastIndexOf("/"))) {
    const elements = [...document.querySelectorAll(`[data-pointer="${CSS.escape(here)}"]`)];
    const visible = elements.find((element) => !element.closest("[hidden]"));
    if (visible) return visible;
  }
  return document.querySelector("#request");
}

function nameOf(element, fault) {
  const words = element.matches("fieldset") ? element.querySelector("legend") : element.labels[0];
  return element.dataset.pointer === fault.loc ? words.textContent.trim() : fault.loc || words.textContent.trim();
}

function open(element) {
  for (let here = element.closest("details"); here; here = here.parentElement.closest("details")) here.open = true;
}

function goTo(element) {
  open(element);
  (inputOf(element) ?? element).focus();
}

/** Removes all error messages. */
export function clearFaults() {
  summary.hidden = true;
  for (const slot of document.querySelectorAll(SLOTS)) {
    slot.hidden = true;
    slot.textContent = "";
  }
  for (const field of document.querySelectorAll("#new [aria-invalid]")) field.removeAttribute("aria-invalid");
}

/** Shows every error at its field and returns the fields, in the order of the errors. */
export function markFaults(faults) {
  clearFaults();
  return faults.map((fault) => {
    const element = elementAt(fault.loc);
    const slot = slotOf(element);
    const text = element.dataset.pointer === fault.loc ? fault.msg : `${fault.loc || "/"}: ${fault.msg}`;
    slot.textContent += slot.textContent ? `; ${text}` : text;
    slot.hidden = false;
    if (!element.matches("fieldset")) element.setAttribute("aria-invalid", "true");
    return element;
  });
}

/** Shows why the request was refused, with links to the errors, and moves the focus to the first one. */
export function announce(problem) {
  const faults = problem.errors ?? [];
  const elements = markFaults(faults);
  message.textContent = problem.detail;
  list.replaceChildren(...faults.map((fault, index) => entry(elements[index], fault)));
  summary.hidden = false;
  if (elements.length) goTo(elements.toSorted((one, other) => one.compareDocumentPosition(other) & 4 ? -1 : 1)[0]);
}

function entry(element, fault) {
  const link = document.createElement("a");
  link.href = `#${element.id}`;
  link.textContent = `${nameOf(element, fault)}: ${fault.msg}`;
  link.addEventListener("click", (event) => {
    event.preventDefault();
    goTo(element);
  });
  const item = document.createElement("li");
  item.className = "given";
  item.append(link);
  return item;
}
