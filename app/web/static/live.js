// Keeps a page up to date: fetches its changing fragment again and replaces the parts that differ.

const root = document.querySelector("[data-fragment]");

/** Minimum time between two requests, in milliseconds. */
const MIN_INTERVAL = 1000;

/** Time between two requests for a queued benchmark, and before a reconnect, in milliseconds. */
const WAITING_INTERVAL = 5000;

/** Events that change the page of a benchmark. */
const KINDS = [
  "progress", "queued", "started", "cancelling", "trial_finished", "trial_failed", "block_finished",
  "blocks_reused", "blocks_discarded", "worker_lost", "handed_back", "device_sick",
];

/** Replaces the parts that differ. Focus, selection, open details and scroll positions are kept. */
function swap(html) {
  const fresh = new DOMParser().parseFromString(html, "text/html");
  for (const part of fresh.querySelectorAll("[data-part]")) {
    const shown = document.getElementById(part.id);
    if (!shown) continue;
    const checked = [...shown.querySelectorAll("input:checked")].map((input) => input.id);
    for (const id of checked) part.querySelector(`#${CSS.escape(id)}`)?.setAttribute("checked", "");
    const open = [...shown.querySelectorAll("details[open][id]")].map((details) => details.id);
    for (const id of open) part.querySelector(`#${CSS.escape(id)}`)?.setAttribute("open", "");
    if (shown.innerHTML === part.innerHTML || shown.dataset.seen === part.innerHTML) continue;
    shown.dataset.seen = part.innerHTML;
    const scrolled = [...shown.querySelectorAll(".scrolls[id]")].map((wide) => [wide.id, wide.scrollLeft]);
    const focused = shown.contains(document.activeElement) ? document.activeElement.id : "";
    shown.replaceChildren(...part.childNodes);
    for (const [id, left] of scrolled) document.getElementById(id)?.scrollTo({ left });
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  }
}

/** Fetches the fragment. Returns false, and shows a notice, if the server refuses it for good. */
async function read() {
  const response = await fetch(root.dataset.fragment, { headers: { Accept: "text/html" }, redirect: "manual" });
  if (response.ok) swap(await response.text());
  const available = response.ok || response.status >= 500;
  document.getElementById("stale").hidden = available;
  return available;
}

/** Returns a throttled `read`: calls within MIN_INTERVAL are merged, and a call during a request causes another one. */
function throttled() {
  let pending = false;
  let busy = false;
  let last = 0;
  return async () => {
    pending = true;
    if (busy) return;
    busy = true;
    while (pending) {
      await new Promise((go) => setTimeout(go, Math.max(0, last + MIN_INTERVAL - Date.now())));
      pending = false;
      last = Date.now();
      await read().catch(() => {});
    }
    busy = false;
  };
}

/** Updates the page at every event until the benchmark ends. A hidden page keeps no connection open. */
function follow() {
  const update = throttled();
  let source = null;
  const listen = () => {
    source?.close();
    source = null;
    if (document.hidden) return;
    update();
    source = new EventSource(root.dataset.events);
    for (const kind of KINDS) source.addEventListener(kind, update);
    // Browsers reconnect after a lost connection, but not after a response that is not an event stream.
    source.addEventListener("error", async () => {
      if (source?.readyState !== EventSource.CLOSED) return;
      if (await read().catch(() => true)) setTimeout(listen, WAITING_INTERVAL);
    });
    source.addEventListener("done", () => {
      source.close();
      location.reload();
    });
  };
  // Other benchmarks change the position in the queue without an event of this one.
  setInterval(() => {
    if (!document.hidden && document.querySelector("#waiting")) update();
  }, WAITING_INTERVAL);
  document.addEventListener("visibilitychange", listen);
  listen();
}

/** Fetches the fragment at a fixed interval while the page is visible. */
function poll() {
  const seconds = Number(root.dataset.every);
  const tick = async () => {
    const available = document.hidden || (await read().catch(() => true));
    if (available) setTimeout(tick, 1000 * seconds);
  };
  setTimeout(tick, 1000 * seconds);
}

if (root?.dataset.events) follow();
else if (root) poll();
