
// Asks again now and then, and changes on the page what has changed: nothing flickers, and the place, the focus and the
// filter stay. Without this script the page is complete; it only does not renew itself, as one in a file.
const interval = 15_000;
const patience = 30_000;
const parts = ["verdict", "counts", "tags", "checks", "at"];
const by = (id) => document.getElementById(id);
let timer;

async function renew() {
  clearTimeout(timer);
  try {
    const signal = AbortSignal.timeout(patience);
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store", signal });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!page.getElementById("verdict")) throw new Error(`the answer was ${answer.status}`);
    show(page);
  } catch (error) {
    const at = by("at")?.textContent;
    by("stale").textContent = `This is out of date${at ? `: it was found at ${at}` : ""}. No report has come since (${error.message}).`;
    by("stale").hidden = false;
    document.title = `out of date: ${document.title.replace(/^out of date: /, "")}`;
  }
  wait();
}

function wait() {
  clearTimeout(timer);
  if (by("repeats")?.checked && !document.hidden) timer = setTimeout(renew, interval);
}

function show(page) {
  const before = document.querySelector("h1").textContent;
  for (const part of parts) {
    const [old, fresh] = [by(part), page.getElementById(part)];
    if (old && fresh) match(old, fresh);
  }
  const icon = document.querySelector("link[rel=icon]");
  icon.href = page.querySelector("link[rel=icon]").href;
  document.title = page.title;
  const now = document.querySelector("h1").textContent;
  if (now !== before) by("news").textContent = now;
  if (!document.querySelector("[name=show]:checked")) by("show-all")?.click();
  search();
}

// Whether the reader has unfolded it is not the page's business.
const isTheReaders = (attribute) => attribute === "open";

// Makes a node like another one, and leaves alone whatever is alike already.
function match(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeName !== fresh.nodeName || old.nodeType !== Node.ELEMENT_NODE) return old.replaceWith(fresh);
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && !isTheReaders(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const key = (node) => node.dataset?.id;
  const keyed = (node) => new Map([...node.children].filter(key).map((child) => [key(child), child]));
  const wanted = keyed(fresh);
  for (const [id, child] of keyed(old)) if (!wanted.has(id)) child.remove();
  const kept = keyed(old);
  let place = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const same = key(child) ? kept.get(key(child)) : place && !key(place) ? place : null;
    if (same && same === place) place = place.nextSibling;
    else old.insertBefore(same ?? child, place);
    if (same) match(same, child);
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

function search() {
  const wanted = by("wanted")?.value.trim().toLowerCase();
  for (const check of document.querySelectorAll(".check")) {
    check.hidden = Boolean(wanted) && !check.textContent.toLowerCase().includes(wanted);
  }
}

for (const id of ["search", "repeat"]) if (by(id)) by(id).hidden = false;
by("wanted")?.addEventListener("input", search);
by("repeats")?.addEventListener("change", wait);
by("again")?.addEventListener("click", (event) => { event.preventDefault(); renew(); });
document.addEventListener("visibilitychange", () => (document.hidden || !by("repeats")?.checked ? wait() : renew()));
search();
wait();
