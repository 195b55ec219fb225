// Turns what a visitor does on a page into events, and says that a book is bought
// only once the store has confirmed it. Without it the forms of the pages still buy.
"use strict";

(() => {
  const status = document.querySelector("[data-status]");
  const attempts = 3;
  const patience = 20_000; // ms for one attempt; longer than the store waits for its brokers

  const wait = (ms) => new Promise((done) => setTimeout(done, ms));

  // randomUUID exists only where the page came over HTTPS or from this machine.
  const newID = () => {
    if (crypto.randomUUID) return crypto.randomUUID();
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
  };

  const newEvent = (type, bookID) => ({
    event_id: newID(),
    event_type: type,
    event_time: new Date().toISOString(),
    book_id: bookID,
  });

  const bookOf = (element) => element.closest("[data-book-id]");
  const titleOf = (book) => book.querySelector("[data-title]").textContent;

  // A confirmation has done its work after a while; a failure stays until the next
  // purchase.
  let clearing = 0;
  const say = (text, kind) => {
    clearTimeout(clearing);
    status.dataset.kind = kind;
    status.textContent = text;
    if (kind === "confirmed") clearing = setTimeout(() => say("", ""), 15_000);
  };

  // deliver returns null once the store has confirmed the event, else why it has
  // not. The id stays the same over all attempts, so that the event counts once.
  const deliver = async (event, onRetry) => {
    let problem = "";
    for (let attempt = 1; attempt <= attempts; attempt++) {
      let pause = 500 * 2 ** (attempt - 1);
      try {
        const answer = await fetch("/events", {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body: JSON.stringify(event),
          keepalive: true,
          signal: AbortSignal.timeout(patience),
        });
        if (answer.status === 202) return null;
        const said = await answer.json().catch(() => ({}));
        problem = said.detail || said.title || `The store answered ${answer.status}.`;
        if (answer.status < 500 && answer.status !== 429) return { refused: true, problem };
        pause = Math.max(pause, Math.min(5, Number(answer.headers.get("Retry-After")) || 0) * 1000);
      } catch {
        problem = "The store does not answer.";
      }
      if (attempt < attempts) {
        onRetry();
        await wait(pause);
      }
    }
    return { refused: false, problem };
  };

  const acknowledged = (event, book) => {
    for (const element of [book, status]) {
      element.dataset.lastEventId = event.event_id;
      element.dataset.lastEventType = event.event_type;
    }
    book.dispatchEvent(new CustomEvent("bookstore:acknowledged", { bubbles: true, detail: { ...event } }));
  };

  // One after the other, so that the store gets them in the order in which they
  // happened. What has not been sent yet when the page goes is left to a beacon.
  const unsent = new Set();
  let last = Promise.resolve();
  const send = (event, book, onRetry = () => {}) => {
    unsent.add(event);
    const sent = last.then(async () => {
      if (!unsent.delete(event)) return { refused: false, problem: "" }; // a beacon has taken it
      const failure = await deliver(event, onRetry);
      if (failure === null) acknowledged(event, book);
      return failure;
    });
    last = sent;
    return sent;
  };

  // Descriptions. The store has been told of those in `open`.
  const open = new Set();
  const tell = (book, isOpen) => {
    const id = book.dataset.bookId;
    if (isOpen === open.has(id)) return;
    if (isOpen) open.add(id);
    else open.delete(id);
    send(newEvent(isOpen ? "description_open" : "description_close", id), book);
  };
  for (const details of document.querySelectorAll(".book details")) {
    details.addEventListener("toggle", () => tell(bookOf(details), details.open));
  }
  // On the page of one book its description is open as long as the page is shown.
  const tellWhatIsOpen = () => {
    for (const book of document.querySelectorAll("[data-description-shown]")) tell(book, true);
    for (const details of document.querySelectorAll(".book details[open]")) tell(bookOf(details), true);
  };

  // Purchases. One that was not confirmed keeps its event, so that buying again
  // is the same purchase and not a second one.
  const unconfirmed = new Map();
  const buy = async (button) => {
    if (button.getAttribute("aria-disabled") === "true") return;
    const book = bookOf(button);
    const id = book.dataset.bookId;
    const label = button.querySelector("[data-label]");
    const event = unconfirmed.get(id) ?? newEvent("purchase", id);
    unconfirmed.set(id, event);
    button.setAttribute("aria-disabled", "true"); // `disabled` would lose the focus
    label.textContent = "Buying…";
    say("", "");
    const failure = await send(event, book, () => say(`“${titleOf(book)}” is not confirmed yet. Trying again…`, "waiting"));
    button.setAttribute("aria-disabled", "false");
    label.textContent = "Buy";
    if (failure === null) {
      unconfirmed.delete(id);
      book.querySelector("[data-bought]").hidden = false;
      say(`Your purchase of “${titleOf(book)}” is confirmed.`, "confirmed");
    } else if (failure.refused) {
      unconfirmed.delete(id);
      say(`“${titleOf(book)}” was not bought: ${failure.problem}`, "failed");
    } else {
      say(`Your purchase of “${titleOf(book)}” could not be confirmed. Please try again; it will count only once.`, "failed");
    }
  };
  for (const button of document.querySelectorAll('[data-action="buy"]')) {
    button.form.addEventListener("submit", (event) => { // which serves where there is no script
      event.preventDefault();
      buy(button);
    });
  }

  // Leaving the page closes what is open. A beacon outlives the page, but its
  // answer reaches nobody.
  addEventListener("pagehide", () => {
    const events = [...unsent, ...Array.from(open, (id) => newEvent("description_close", id))];
    unsent.clear();
    open.clear();
    for (let i = 0; i < events.length; i += 200) { // a beacon holds 64 KiB
      navigator.sendBeacon("/events", JSON.stringify(events.slice(i, i + 200)));
    }
  });
  // The page is shown now, unless the browser only prepares it in advance. Coming back
  // to a page that the browser has kept shows it again.
  if (document.prerendering) document.addEventListener("prerenderingchange", tellWhatIsOpen, { once: true });
  else tellWhatIsOpen();
  addEventListener("pageshow", (event) => {
    if (event.persisted) tellWhatIsOpen();
  });
})();
