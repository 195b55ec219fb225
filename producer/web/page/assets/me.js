// Shows a visitor's own days and times in the time zone of the browser; as they come
// they are UTC.
"use strict";

(() => {
  const visits = document.querySelector("[data-visits]");
  if (!visits || !visits.firstElementChild) return;
  const day = new Intl.DateTimeFormat("en-GB", { weekday: "long", day: "numeric", month: "long", year: "numeric" });
  const clock = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  const sections = new Map();
  for (const item of visits.querySelectorAll("li")) {
    const time = item.querySelector("time");
    const at = new Date(time.dateTime);
    const name = day.format(at);
    time.textContent = clock.format(at);
    if (!sections.has(name)) {
      const section = document.createElement("section");
      const heading = section.appendChild(document.createElement("h2"));
      heading.textContent = name;
      const list = section.appendChild(document.createElement("ol"));
      list.className = "visit";
      sections.set(name, { section, list });
    }
    sections.get(name).list.append(item);
  }
  visits.replaceChildren(...[...sections.values()].map(({ section }) => section));
  document.querySelector("[data-zone]").textContent = "Days and times are those of your time zone.";
})();
