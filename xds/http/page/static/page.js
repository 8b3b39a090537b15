// Keeps the status page moving: the server sends a section's HTML whenever it changed, and only what differs is touched,
// so that focus, selection and open details stay. Without it the page is the same, and stands still.
"use strict";

const SILENT = 5000; // milliseconds after which the page says that it isn't live any more
const ALOUD = 5000; // between two announcements

const link = document.getElementById("link");
const time = document.getElementById("as-of");
const pause = document.getElementById("pause");
const announce = document.getElementById("announce");
const policy = window.trustedTypes
  ? window.trustedTypes.createPolicy("pointsman", { createHTML: (html) => html })
  : { createHTML: (html) => html };

let source = null;
let paused = false;
let watchdog = 0;
let filled = false;

function show(tone, text, lost) {
  link.className = lost ? "link lost" : "link";
  link.firstElementChild.className = "signal " + tone;
  if (link.lastChild.textContent !== " " + text) link.lastChild.textContent = " " + text;
}

function heard() {
  clearTimeout(watchdog);
  watchdog = setTimeout(() => show("bad", "not live since", true), SILENT);
  show("good", "live,", false);
}

function open() {
  if (source || paused || document.hidden) return;
  filled = false;
  source = new EventSource("live");
  source.addEventListener("tick", (event) => {
    time.textContent = event.data;
    filled = true;
    heard();
  });
  source.addEventListener("section", (event) => {
    const { id, html } = JSON.parse(event.data);
    const section = document.getElementById(id);
    if (section) take(section, html);
  });
  source.addEventListener("error", () => {
    show("bad", "not live since", true);
    if (source && source.readyState === EventSource.CLOSED) {
      close();
      setTimeout(open, SILENT); // it was refused: the server has enough viewers, or is older than this page
    }
  });
}

function close() {
  clearTimeout(watchdog);
  if (source) source.close();
  source = null;
}

pause.hidden = false;
pause.addEventListener("click", () => {
  paused = !paused;
  pause.textContent = paused ? "Resume" : "Pause";
  if (paused) {
    close();
    show("idle", "paused at", false);
  } else {
    show("idle", "as of", false);
    open();
  }
});
document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
window.addEventListener("pagehide", close);

function take(section, html) {
  const before = document.getElementById("sentence").textContent;
  const template = document.createElement("template");
  template.innerHTML = policy.createHTML(html);
  morph(section, template.content);
  if (section.id === "verdict") {
    const now = document.getElementById("sentence").textContent;
    if (now !== before) say(now);
    document.title = titled(now, section.querySelector(".verdict").className);
  }
}

function titled(sentence, tones) {
  return (/bad|warn/.test(tones) ? "▲ " : "") + sentence.split(". ")[0].replace(/\.$/, "") + " · Pointsman";
}

let due = 0;
let last = 0;
let saying = "";

// Only what the state as a whole became, the newest, and not more often than every few seconds.
function say(text) {
  saying = text;
  if (due) return;
  due = setTimeout(() => {
    due = 0;
    last = Date.now();
    announce.textContent = saying;
  }, Math.max(0, last + ALOUD - Date.now()));
}

// Makes the children of `old` those of `fresh`. Elements with an id are known by it, others by their place.
function morph(old, fresh) {
  let here = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const known = wanted.id && here && here.id !== wanted.id ? named(old, wanted.id) : null;
    if (known) old.insertBefore(known, here);
    const found = known || here;
    if (found && alike(found, wanted)) {
      if (found === here) here = here.nextSibling;
      same(found, wanted);
    } else {
      const added = old.insertBefore(document.importNode(wanted, true), here);
      if (filled && added.id) added.classList.add("arrived");
    }
  }
  while (here) {
    const next = here.nextSibling;
    here.remove();
    here = next;
  }
}

function named(parent, id) {
  const found = document.getElementById(id);
  return found && found.parentNode === parent ? found : null;
}

function alike(a, b) {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName && (a.id || "") === (b.id || "");
}

function same(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  const arrived = old.classList.contains("arrived");
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  if (arrived) old.classList.add("arrived");
  morph(old, fresh);
}

open();
