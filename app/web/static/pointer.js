// Reads and writes values in a request by JSON pointer (RFC 6901).

const steps = (pointer) => pointer.split("/").slice(1).map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));

/** Returns whether a value is a JSON object. */
export const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** Returns the value at a pointer; undefined if there is none. */
export function at(request, pointer) {
  const below = (here, step) => (isObject(here) && Object.hasOwn(here, step) ? here[step] : undefined);
  return steps(pointer).reduce(below, request);
}

/** Returns a copy of the request with a value set. Undefined removes the value and the objects that become empty. */
export const put = (request, pointer, value) => written(request, steps(pointer), value) ?? {};

function written(here, [step, ...rest], value) {
  const object = isObject(here) ? { ...here } : {};
  const below = rest.length ? written(object[step], rest, value) : value;
  if (below === undefined) delete object[step];
  else object[step] = below;
  return Object.keys(object).length ? object : undefined;
}
