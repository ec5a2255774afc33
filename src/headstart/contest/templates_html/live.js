// Brings news to a page: server-sent events, and where there are none, a look every few seconds.
// What is fresh is fetched as the page itself, and its [data-fresh] parts replace those shown.
(() => {
  "use strict";
  const source = document.body.dataset.live;
  if (!source) return;
  let busy = false, again = false, asking = 0, last = 0, later = 0;

  const refresh = async () => {
    if (busy || document.hidden) { again = true; return; }
    busy = true; again = false; last = Date.now();
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const now = document.querySelectorAll("[data-fresh]"), next = page.querySelectorAll("[data-fresh]");
      now.forEach((part, i) => { if (next[i] && part.innerHTML !== next[i].innerHTML) swap(part, next[i]); });
      if (!page.body.dataset.live) stop();
    } catch { /* the server is away: the next look will tell */ } finally {
      busy = false;
      if (again) setTimeout(refresh, Math.max(0, 1000 - (Date.now() - last)));
    }
  };

  // Keep what a reader has: scroll positions of tables, and the focus.
  const swap = (part, next) => {
    const lefts = [...part.querySelectorAll(".scroll")].map((box) => box.scrollLeft);
    const focus = document.activeElement && part.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    part.replaceChildren(...next.childNodes);
    part.querySelectorAll(".scroll").forEach((box, i) => { box.scrollLeft = lefts[i] || 0; });
    if (focus) part.querySelector(`a[href="${CSS.escape(focus)}"]`)?.focus();
  };

  const ask = () => { asking ||= setInterval(refresh, 5000); };
  let events = null;
  const stop = () => { events?.close(); clearInterval(asking); };
  if ("EventSource" in window) {
    events = new EventSource(source);
    // Pages are kept for a second, so the first look after a change may be too early: look again.
    events.addEventListener("change", () => { refresh(); clearTimeout(later); later = setTimeout(refresh, 2500); });
    events.addEventListener("open", () => { clearInterval(asking); asking = 0; });
    events.addEventListener("error", ask);
  } else ask();
  document.addEventListener("visibilitychange", () => { if (!document.hidden && again) refresh(); });
  window.addEventListener("pagehide", stop);
})();
