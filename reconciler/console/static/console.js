// What a page does by itself: parts that stay fresh, a search while one types, and a log that goes on.
// Without it every page works, and is as old as when it was opened.
"use strict";

const find = (id) => document.getElementById(id);

// ---------------------------------------------------------------- parts that stay fresh

const page = { asked: 0, timer: 0, fresh: new Date() };

function held(part) {
  // Nobody's keys, choice or selection is taken away from under them.
  const selection = document.getSelection();
  return part.contains(document.activeElement) && document.activeElement !== document.body
    || (selection && !selection.isCollapsed && part.contains(selection.anchorNode))
    || part.querySelector("details[open]") !== null;
}

async function refresh(address, force) {
  const number = ++page.asked;
  try {
    const answer = await fetch(address, { headers: { Accept: "text/html" }, redirect: "error" });
    if (answer.status === 401) { location.reload(); return; }
    if (!answer.ok) throw new Error(String(answer.status));
    const text = await answer.text();
    if (number !== page.asked) return;
    const fresh = new DOMParser().parseFromString(text, "text/html");
    for (const part of document.querySelectorAll("[data-live]")) {
      const other = fresh.getElementById(part.id);
      if (!other) { if (part.id === "acts") part.replaceChildren(); continue; }
      if (other.innerHTML === part.innerHTML || (held(part) && !force)) continue;
      const places = [...part.querySelectorAll(".scroll")].map((e) => [e.scrollLeft, e.scrollTop]);
      part.replaceChildren(...document.importNode(other, true).childNodes);
      for (const [n, e] of part.querySelectorAll(".scroll").entries()) if (places[n]) e.scrollTo(...places[n]);
      if (other.dataset.refresh) part.dataset.refresh = other.dataset.refresh;
      else delete part.dataset.refresh;
    }
    page.fresh = new Date();
    find("live").textContent = "";
  } catch {
    const of = page.fresh.toISOString().slice(11, 19);
    if (number === page.asked) find("live").textContent = `This page is of ${of} UTC: nobody answers since.`;
  }
}

function keepFresh() {
  const part = document.querySelector("[data-refresh]");
  if (!part) return;
  clearTimeout(page.timer);
  page.timer = setTimeout(async () => {
    if (!document.hidden) await refresh(location.href, false);
    keepFresh();
  }, 1000 * Number(part.dataset.refresh));
}

function searchAsTyped(form) {
  let waiting = 0;
  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      const query = new URLSearchParams();
      for (const [name, value] of new FormData(form)) if (value) query.set(name, value);
      history.replaceState(null, "", `${form.action}${query.size ? "?" + query : ""}`);
      refresh(location.href, true);
    }, 120);
  });
}

// ---------------------------------------------------------------- a log

const MOST_LINES = 20000;

function lineOf(number, [time, header, pieces]) {
  const line = document.createElement("div");
  line.id = `L${number}`;
  line.className = header ? "head" : "line";
  const link = document.createElement("a");
  link.className = "n";
  link.href = `#L${number}`;
  link.textContent = number;
  link.setAttribute("aria-label", `line ${number}`);
  line.append(link);
  if (header) {
    const bold = document.createElement("b");
    bold.textContent = header;
    line.append(bold);
    return line;
  }
  const clock = document.createElement("time");
  clock.textContent = time;
  const text = document.createElement("span");
  text.className = "t";
  for (const [words, style] of pieces) {
    const piece = document.createElement("span");
    if (style) piece.className = style;
    piece.textContent = words;
    text.append(piece);
  }
  line.append(clock, text);
  return line;
}

function followLog(log) {
  let next = Number(log.dataset.next), source = null, last = "", top = 0;
  const follow = find("follow");
  const toEnd = () => { if (follow.checked) { log.scrollTop = log.scrollHeight; top = log.scrollTop; } };
  const take = (event) => {
    last = event.lastEventId;
    const found = document.createDocumentFragment();
    for (const line of JSON.parse(event.data).lines) found.append(lineOf(next++, line));
    // Who sees the end of the log goes on to see it; who looks at what is above it is left there.
    const seen = log.getBoundingClientRect().bottom <= innerHeight + 40;
    const empty = log.querySelector(".empty");
    if (empty) empty.remove();
    log.append(found);
    while (log.childElementCount > MOST_LINES) log.firstElementChild.remove();
    toTarget();
    toEnd();
    if (seen && follow.checked) log.lastElementChild.scrollIntoView({ block: "nearest" });
    hits.again();
  };
  const open = () => {
    const address = new URL(log.dataset.stream, location.href);
    if (last) address.searchParams.set("from", last);
    source = new EventSource(address);
    source.addEventListener("message", take);
    source.addEventListener("end", () => { source.close(); log.dataset.ended = "yes"; refresh(location.href, true); });
    source.addEventListener("closed", (event) => { find("live").textContent = JSON.parse(event.data).message; });
  };
  // A browser has few connections to one server, and what nobody looks at needs none.
  document.addEventListener("visibilitychange", () => {
    if (log.dataset.ended) return;
    source.close();
    if (!document.hidden) open();
  });
  open();
  // Whoever goes up, by a wheel, by keys, by touch or by the scroll bar, is left where they are.
  log.addEventListener("scroll", () => {
    if (log.scrollTop < top - 1) follow.checked = false;
    top = log.scrollTop;
  }, { passive: true });
  follow.addEventListener("change", toEnd);
  addEventListener("beforeunload", () => source.close());
  if (!location.hash) toEnd();
}

let shown = "";
function toTarget() {
  if (!location.hash.startsWith("#L") || shown === location.hash) return;
  const line = find(location.hash.slice(1));
  if (!line) return;
  shown = location.hash;
  if (find("follow")) find("follow").checked = false;
  // `:target` is looked for when the address changes, and this line came later.
  location.replace(location.href);
  line.scrollIntoView({ block: "center" });
}

const hits = {
  words: "", lines: [], at: -1, waiting: 0,
  again() {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => { if (this.words) this.search(this.words, false); }, 200);
  },
  search(words, move) {
    for (const mark of find("log").querySelectorAll("mark")) mark.replaceWith(...mark.childNodes);
    this.words = words;
    this.lines = [];
    const wanted = words.toLowerCase();
    if (wanted) for (const text of find("log").querySelectorAll(".t, .head b")) {
      text.normalize();
      if (text.textContent.toLowerCase().includes(wanted)) this.lines.push(text);
    }
    for (const text of this.lines) for (const piece of [text, ...text.querySelectorAll("span")]) {
      for (const node of [...piece.childNodes].filter((n) => n.nodeType === Node.TEXT_NODE)) markIn(node, wanted);
    }
    if (move) this.at = -1;
    this.go(move ? 1 : 0);
  },
  go(by) {
    const count = this.lines.length;
    if (!count) { find("hits").textContent = this.words ? "not found" : ""; return; }
    this.at = by ? (this.at + by + count) % count : Math.min(this.at, count - 1);
    find("hits").textContent = this.at < 0 ? `${count} lines` : `${this.at + 1} of ${count}`;
    for (const mark of document.querySelectorAll("mark.at")) mark.classList.remove("at");
    if (this.at < 0) return;
    const line = this.lines[this.at];
    for (const mark of line.querySelectorAll("mark")) mark.classList.add("at");
    if (by) { find("follow").checked = false; line.scrollIntoView({ block: "center" }); }
  },
};

function markIn(node, wanted) {
  let rest = node, at;
  while ((at = rest.data.toLowerCase().indexOf(wanted)) >= 0 && rest.data.length) {
    const hit = rest.splitText(at);
    rest = hit.splitText(Math.min(wanted.length, hit.data.length));
    const mark = document.createElement("mark");
    hit.replaceWith(mark);
    mark.append(hit);
  }
}

// ---------------------------------------------------------------- what a page begins with

for (const tool of document.querySelectorAll("[data-script]")) tool.hidden = false;
for (const form of document.querySelectorAll("[data-instant]")) searchAsTyped(form);
for (const picture of document.querySelectorAll(".scroll")) {
  // Where a timeline is wider than the screen, the present is what one sees first.
  const now = picture.querySelector(".now");
  if (now) picture.scrollLeft += now.getBoundingClientRect().x - picture.getBoundingClientRect().x - picture.clientWidth / 2;
}
const log = find("log");
if (log) {
  find("q").addEventListener("input", () => hits.search(find("q").value, true));
  find("q").addEventListener("keydown", (event) => { if (event.key === "Enter") hits.go(event.shiftKey ? -1 : 1); });
  find("before").addEventListener("click", () => hits.go(-1));
  find("after").addEventListener("click", () => hits.go(1));
  addEventListener("hashchange", toTarget);
  if (log.dataset.stream) followLog(log);
  toTarget();
}
document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && find("q")) {
    event.preventDefault();
    find("q").focus();
  }
});
keepFresh();
