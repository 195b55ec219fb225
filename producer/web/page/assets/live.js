// Keeps the live page up to date: the store sends the parts of the page that have
// changed, drawn, and they are put in their places here.
"use strict";

(() => {
  const quiet = 5_000; // ms without a message after which the store seems to be gone
  const retry = 2_000; // ms until the next attempt where the browser makes none itself

  const parts = new Map();
  for (const element of document.querySelectorAll("[data-part]")) parts.set(element.dataset.part, element);
  const state = document.querySelector("[data-connection]");
  const lost = document.querySelector("[data-lost]");
  const pause = document.querySelector("[data-pause]");

  const clock = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  const localise = (element) => {
    for (const time of element.querySelectorAll("time[data-clock]")) time.textContent = clock.format(new Date(time.dateTime));
  };

  let stream = null;
  let paused = false;
  let last = Date.now(); // when the latest message came
  let again = 0;

  const show = (name) => { state.dataset.connection = name; };

  const found = () => {
    last = Date.now();
    lost.hidden = true;
    show("open");
  };

  const missing = () => {
    if (!lost.hidden) return;
    lost.textContent = `The store has not answered since ${clock.format(last)}. These numbers stand still; the page tries again by itself.`;
    lost.hidden = false;
    show("lost");
  };

  const close = () => {
    clearTimeout(again);
    if (stream) stream.close();
    stream = null;
  };

  const open = () => {
    close();
    last = Date.now();
    stream = new EventSource("/live/events");
    stream.addEventListener("parts", (message) => {
      found();
      for (const [name, html] of Object.entries(JSON.parse(message.data))) {
        const element = parts.get(name);
        if (!element) continue;
        element.innerHTML = html;
        localise(element);
      }
    });
    stream.addEventListener("error", () => {
      // After an answer that is no stream a browser gives up; the store may come back.
      if (stream && stream.readyState === EventSource.CLOSED) again = setTimeout(open, retry);
    });
  };

  setInterval(() => {
    if (stream && Date.now() - last > quiet) missing();
  }, 1000);

  const follow = () => {
    if (paused || document.hidden) close();
    else open();
  };
  document.addEventListener("visibilitychange", follow);
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => { if (event.persisted) follow(); });

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Go on" : "Pause";
    if (paused) {
      lost.hidden = true;
      show("paused");
    }
    follow();
  });

  localise(document);
  follow();
})();
