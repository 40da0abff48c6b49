// Shows what is wrong with a request where it is wrong, and all of it at the top.

const summary = document.querySelector("#faults");
const message = document.querySelector("#fault");
const list = document.querySelector("#fault-list");
const SLOTS = "#new [id$='-error']";

const slotOf = (element) => document.getElementById(`${element.id}-error`);
const inputOf = (element) => (element.matches("fieldset") ? element.querySelector("legend + span input") : element);

/** What is shown for a place: its field, else the nearest that holds it, else the JSON. */
function elementAt(pointer) {
  for (let here = pointer; here; here = here.slice(0, here.lastIndexOf("/"))) {
    const found = [...document.querySelectorAll(`[data-pointer="${CSS.escape(here)}"]`)];
    const shown = found.find((element) => !element.closest("[hidden]"));
    if (shown) return shown;
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

/** Takes everything away that was shown. */
export function clearFaults() {
  summary.hidden = true;
  for (const slot of document.querySelectorAll(SLOTS)) {
    slot.hidden = true;
    slot.textContent = "";
  }
  for (const field of document.querySelectorAll("#new [aria-invalid]")) field.removeAttribute("aria-invalid");
}

/** Marks every fault at its field; gives the elements, in the order of the faults. */
export function markFaults(faults) {
  clearFaults();
  return faults.map((fault) => {
    const element = elementAt(fault.loc);
    const slot = slotOf(element);
    const said = element.dataset.pointer === fault.loc ? fault.msg : `${fault.loc || "/"}: ${fault.msg}`;
    slot.textContent += slot.textContent ? `; ${said}` : said;
    slot.hidden = false;
    if (!element.matches("fieldset")) element.setAttribute("aria-invalid", "true");
    return element;
  });
}

/** Says at the top what keeps a request from being taken, with a way to every fault; goes to the first. */
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
