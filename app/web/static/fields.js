// Converts between the content of a field and its value in the request. Content that cannot be parsed is passed on
// unchanged: the server reports the error.

import { isObject } from "./pointer.js";

const empty = (text) => text.trim() === "";
const number = (text) => (empty(text) || !Number.isFinite(Number(text)) ? text.trim() : Number(text));

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function pairs(text) {
  const lines = text.split("\n").filter((line) => !empty(line));
  return Object.fromEntries(lines.map((line) => {
    const [key, ...rest] = line.split(":");
    return [key.trim(), rest.join(":").trim()];
  }));
}

const plain = (value) => (typeof value === "string" ? value : JSON.stringify(value));
const checks = (field) => [...field.querySelectorAll("input")];

const READERS = {
  switch: (field) => field.checked,
  choice: (field) => field.value || null,
  choices: (field) => {
    const chosen = checks(field).filter((input) => input.checked).map((input) => input.value);
    return chosen.length ? chosen : null;
  },
  number: (field) => (empty(field.value) ? null : number(field.value)),
  text: (field) => field.value || null,
  numbers: (field) => (empty(field.value) ? null : field.value.split(",").map(number)),
  pairs: (field) => pairs(field.value),
  json: (field) => (empty(field.value) ? null : parsed(field.value)),
};

const WRITERS = {
  // Settings of what is switched on stand for true.
  switch: (field, value) => { field.checked = value === true || isObject(value); },
  choices: (field, value) => {
    for (const input of checks(field)) input.checked = Array.isArray(value) && value.includes(input.value);
  },
  numbers: (field, value) => { field.value = Array.isArray(value) ? value.map(plain).join(", ") : plain(value); },
  pairs: (field, value) => {
    const lines = Object.entries(value).map(([key, text]) => `${key}: ${plain(text)}`);
    field.value = lines.join("\n");
  },
};

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
const standard = (field) => JSON.parse(field.dataset.default);

/** Returns the value of a field; undefined for the default, which is omitted from the request. */
export function read(field) {
  const value = READERS[field.dataset.control](field);
  if (field.dataset.kinds) return value;
  if (value === null && !("nullable" in field.dataset)) return undefined;
  return same(value, standard(field)) ? undefined : value;
}

/** Shows a value in a field; undefined shows the default. */
export function show(field, value) {
  const shown = value === undefined ? standard(field) : value;
  if (shown === null && field.dataset.control !== "choices" && field.dataset.control !== "switch") field.value = "";
  else (WRITERS[field.dataset.control] ?? ((_, any) => { field.value = plain(any); }))(field, shown ?? []);
}
