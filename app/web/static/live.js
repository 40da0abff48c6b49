// Keeps a page in step with the server: reads its changing part again, and swaps in what is new.

const root = document.querySelector("[data-fragment]");

/** Least time between two readings, in milliseconds. */
const PACE = 1000;

/** Time between two readings of what waits, in milliseconds. */
const WAITING_PACE = 5000;

/** Events after which a benchmark's page shows something else. */
const KINDS = [
  "progress", "queued", "started", "cancelling", "trial_finished", "trial_failed", "block_finished",
  "blocks_reused", "blocks_discarded", "worker_lost", "handed_back", "device_sick",
];

/** Puts what is new in place. Focus, choices, open details and the place on the page stay. */
function swap(html) {
  const fresh = new DOMParser().parseFromString(html, "text/html");
  for (const part of fresh.querySelectorAll("[data-part]")) {
    const shown = document.getElementById(part.id);
    if (!shown) continue;
    const chosen = [...shown.querySelectorAll("input:checked")].map((input) => input.id);
    for (const id of chosen) part.querySelector(`#${CSS.escape(id)}`)?.setAttribute("checked", "");
    const open = [...shown.querySelectorAll("details[open][id]")].map((details) => details.id);
    for (const id of open) part.querySelector(`#${CSS.escape(id)}`)?.setAttribute("open", "");
    if (shown.innerHTML === part.innerHTML || shown.dataset.seen === part.innerHTML) continue;
    shown.dataset.seen = part.innerHTML;
    const places = [...shown.querySelectorAll(".scrolls[id]")].map((wide) => [wide.id, wide.scrollLeft]);
    const focused = shown.contains(document.activeElement) ? document.activeElement.id : "";
    shown.replaceChildren(...part.childNodes);
    for (const [id, left] of places) document.getElementById(id)?.scrollTo({ left });
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  }
}

/** Reads the part that changes; false where the server will not give it any more, which the page then says. */
async function read() {
  const answer = await fetch(root.dataset.fragment, { headers: { Accept: "text/html" }, redirect: "manual" });
  if (answer.ok) swap(await answer.text());
  const goesOn = answer.ok || answer.status >= 500;
  document.getElementById("stale").hidden = goesOn;
  return goesOn;
}

/** Calls `read` soon, once for many calls, no more often than the pace allows, and again for a call meanwhile. */
function paced() {
  let wanted = false;
  let busy = false;
  let last = 0;
  return async () => {
    wanted = true;
    if (busy) return;
    busy = true;
    while (wanted) {
      await new Promise((go) => setTimeout(go, Math.max(0, last + PACE - Date.now())));
      wanted = false;
      last = Date.now();
      await read().catch(() => {});
    }
    busy = false;
  };
}

/** Follows a benchmark by its events until it is over, while anybody looks: a hidden page holds no connection. */
function follow() {
  const update = paced();
  let source = null;
  const listen = () => {
    source?.close();
    source = null;
    if (document.hidden) return;
    update();
    source = new EventSource(root.dataset.events);
    for (const kind of KINDS) source.addEventListener(kind, update);
    // A browser goes on by itself after a broken connection, but not after an answer that is no stream.
    source.addEventListener("error", async () => {
      if (source?.readyState !== EventSource.CLOSED) return;
      if (await read().catch(() => true)) setTimeout(listen, WAITING_PACE);
    });
    source.addEventListener("done", () => {
      source.close();
      location.reload();
    });
  };
  // What others do moves its place in the queue, and is no event of this one.
  setInterval(() => {
    if (!document.hidden && document.querySelector("#waiting")) update();
  }, WAITING_PACE);
  document.addEventListener("visibilitychange", listen);
  listen();
}

/** Reads every few seconds while anybody looks. */
function poll() {
  const seconds = Number(root.dataset.every);
  const tick = async () => {
    const goesOn = document.hidden || (await read().catch(() => true));
    if (goesOn) setTimeout(tick, 1000 * seconds);
  };
  setTimeout(tick, 1000 * seconds);
}

if (root?.dataset.events) follow();
else if (root) poll();
