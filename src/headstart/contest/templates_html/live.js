// Brings news to a page: server-sent events, and where there are none, a look every few seconds.
// The page says which version it shows, events say which there is: it is fetched again until it is as new as that, and its
// [data-fresh] parts replace those shown.
(() => {
  "use strict";
  const source = document.body.dataset.live;
  if (!source) return;
  const PAUSE = 2000, ASK = 5000; // milliseconds between two looks at least; between looks without events
  let shown = Number(document.body.dataset.version), there = shown;
  let events = null, asking = 0, timer = 0, looking = false, last = 0;

  // A page that many watch is fetched by all of them: not at the same moment.
  const news = () => {
    if (timer || looking || shown >= there || document.hidden) return;
    timer = setTimeout(look, Math.max(0, last + PAUSE - Date.now()) + 500 * Math.random());
  };

  const look = async () => {
    timer = 0;
    if (looking || document.hidden) return;
    looking = true; last = Date.now();
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      renew(page);
      shown = Number(page.body.dataset.version);
      if (!page.body.dataset.live) { there = shown; stop(); }
    } catch { /* the server is away: the next look will tell */ } finally {
      looking = false;
      news();
    }
  };

  const renew = (page) => {
    let [now, next] = [document, page].map((one) => [...one.querySelectorAll("[data-fresh]")]);
    if (now.length !== next.length) [now, next] = [document, page].map((one) => [one.querySelector("main")]);
    now.forEach((part, i) => { if (part.innerHTML !== next[i].innerHTML) swap(part, next[i]); });
  };

  // Keep what a reader has: scroll positions of tables, and the focus.
  const swap = (part, next) => {
    const lefts = [...part.querySelectorAll(".scroll")].map((box) => box.scrollLeft);
    const stops = () => [...part.querySelectorAll("a, button, input, summary, [tabindex]")];
    const focus = stops().indexOf(document.activeElement);
    part.replaceChildren(...next.childNodes);
    part.querySelectorAll(".scroll").forEach((box, i) => { box.scrollLeft = lefts[i] || 0; });
    stops()[focus]?.focus({ preventScroll: true });
  };

  const start = () => {
    if (!("EventSource" in window)) { ask(); return; }
    events = new EventSource(source);
    events.addEventListener("change", (event) => { there = Math.max(there, Number(event.data)); news(); });
    events.addEventListener("open", () => { clearInterval(asking); asking = 0; });
    events.addEventListener("error", ask);
  };
  const ask = () => { asking ||= setInterval(look, ASK); };
  const stop = () => { events?.close(); clearInterval(asking); asking = 0; };
  start();
  document.addEventListener("visibilitychange", news);
  window.addEventListener("pagehide", stop);
  window.addEventListener("pageshow", (event) => { if (event.persisted) start(); }); // back from the browser's own store
})();
