// Places in a request, as JSON pointers (RFC 6901).

const steps = (pointer) => pointer.split("/").slice(1).map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));

/** Whether a value has named parts. */
export const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** What is at a place; undefined where nothing is. */
export function at(request, pointer) {
  const below = (here, step) => (isObject(here) && Object.hasOwn(here, step) ? here[step] : undefined);
  return steps(pointer).reduce(below, request);
}

/** The request with another value at a place. Undefined takes away what is there, and objects that it leaves empty. */
export const put = (request, pointer, value) => written(request, steps(pointer), value) ?? {};

function written(here, [step, ...rest], value) {
  const object = isObject(here) ? { ...here } : {};
  const below = rest.length ? written(object[step], rest, value) : value;
  if (below === undefined) delete object[step];
  else object[step] = below;
  return Object.keys(object).length ? object : undefined;
}
