// What is shown follows the address: ?run=NAME&q=SENTENCE&image=ROW&k=N, or &sent=NUMBER for a
// picture that was sent, which lives in this page only.
"use strict";

const find = (id) => document.getElementById(id);
const view = find("view"), status = find("status"), problem = find("error"), query = find("query");
const FIRST = Number(document.documentElement.dataset.k), MOST = Number(document.documentElement.dataset.most);
const sent = new Map(); // pictures that were sent, by their number in the history
let run = null; // facts of the run that is shown
let waiting = new AbortController();
let shown = location.href;

function asked() {
  const given = new URLSearchParams(location.search);
  const names = [...find("run").options].map((one) => one.value);
  return {
    run: given.get("run") ?? names[0], q: given.get("q") ?? "", image: given.get("image"),
    k: Math.min(MOST, Number(given.get("k")) || FIRST), sent: given.get("sent"),
  };
}

const several = () => find("run").options.length > 1;
const link = (values) => address("/", { run: several() ? run.run : null, ...values });
const toPicture = (q) => (one) => link({ q, image: one.image });
const toSentence = (q) => link({ q });
const tile = (one) => address("/tile.jpg", { run: run.run, image: one.image, v: run.version });

async function fetched(path, values, options = {}) {
  const answer = await fetch(address(path, values), { signal: waiting.signal, ...options });
  let found = null;
  try {
    found = await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    found = { error: `the program answered ${answer.status}: its terminal says more` };
  }
  if (!answer.ok) throw new Error(found.error ?? `the program answered ${answer.status}`);
  return found;
}

function say(line, remarks = []) {
  status.replaceChildren(line, ...remarks.map((one) => make("span", { className: "remark" }, one)));
}

function complain(error) {
  if (error.name === "AbortError") return;
  const lost = error instanceof TypeError;
  problem.textContent = lost ? "The program does not answer: is it still running?" : sentenceCase(error.message);
  problem.hidden = false;
  say("");
}

function sentenceCase(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function put(...parts) {
  view.replaceChildren(...parts);
  view.removeAttribute("aria-busy");
}

/** Shows what the address says. */
async function show() {
  waiting.abort();
  waiting = new AbortController();
  const own = waiting.signal, wanted = asked();
  problem.hidden = true;
  query.value = wanted.q;
  view.setAttribute("aria-busy", "true");
  const late = setTimeout(() => { say("Searching …"); view.replaceChildren(skeleton(FIRST > 12 ? 12 : FIRST)); }, 200);
  try {
    if (run?.run !== wanted.run) await openRun(wanted.run);
    if (wanted.sent !== null) await showSent(wanted);
    else if (wanted.image !== null) await showPicture(wanted);
    else if (wanted.q.trim()) await showAnswers(wanted);
    else showStart();
  } catch (error) {
    if (!own.aborted) { put(); complain(error); }
  } finally {
    clearTimeout(late);
  }
}

async function openRun(name) {
  run = null;
  find("run").value = name;
  find("choose").hidden = true;
  run = await fetched("/api/run", { run: name });
  find("home").href = link({});
  find("choose").hidden = !run.describes;
}

function showStart() {
  document.title = "Matchbox";
  const of = run.captions ? `${run.images.toLocaleString("en")} pictures and ${run.captions.toLocaleString("en")} captions` : `${run.images.toLocaleString("en")} pictures`;
  say(`${run.folder ? `${of} in ${run.folder}` : `A gallery of ${of}`}${run.describes ? "" : ` · no other picture can be asked with: ${run.why_not}`}`);
  const parts = [];
  if (run.examples.length) {
    const chips = run.examples.map((one) => make("li", {}, make("a", { href: toSentence(one) }, one)));
    parts.push(make("h2", {}, "Try"), make("ul", { className: "chips" }, ...chips));
  }
  if (run.samples.length) parts.push(make("h2", {}, run.folder ? "From the folder" : "From the gallery"), grid(run.samples, toPicture(""), tile, false));
  put(...parts);
}

async function showAnswers(wanted) {
  const found = await fetched("/api/ask", { run: run.run, q: wanted.q, k: wanted.k });
  document.title = `${wanted.q} · Matchbox`;
  const unknown = found.unknown.length ? [`not known to the model: ${found.unknown.join(", ")}`] : [];
  say(`${found.note}${run.similarity === "cosine" ? "" : ` · ${run.similarity} similarity`}`, [...unknown, ...found.remarks]);
  const parts = [make("h2", { className: "hidden" }, "Answers"), grid(found.answers, toPicture(wanted.q), tile, true)];
  if (found.answers.length === wanted.k && wanted.k < MOST && wanted.k < run.images) {
    const more = make("button", { type: "button", className: "more" }, "Show more");
    more.addEventListener("click", async () => {
      const before = view.querySelectorAll(".tile").length;
      await go(link({ q: wanted.q, k: Math.min(MOST, 2 * wanted.k) }), { replace: true, stay: true });
      view.querySelectorAll(".tile")[before]?.focus();
    });
    parts.push(more);
  }
  put(...parts);
}

async function showPicture(wanted) {
  const found = await fetched("/api/image", { run: run.run, image: wanted.image, k: 12 });
  document.title = `${found.name} · Matchbox`;
  const why = (caption) => link({ q: caption, image: wanted.image });
  const whole = frame(found, address("/picture.jpg", { run: run.run, image: wanted.image, v: run.version }), found.caption || found.name);
  const left = make("div", { className: "left" }, whole, make("p", { className: "name" }, found.name));
  const right = make("div", {});
  // Without a question the picture's nearest caption is explained.
  const sentence = wanted.q.trim() || found.captions[0]?.caption || "";
  if (sentence) {
    const reasons = make("section", { "aria-busy": "true" },
      make("h2", {}, wanted.q.trim() ? "Why they match" : "Why its nearest caption matches"),
      make("blockquote", { dir: "auto" }, sentence), make("p", { className: "wait" }, "Explaining …"));
    right.append(reasons);
    explain(wanted.image, sentence, reasons, left, whole);
  }
  if (found.own_captions.length) {
    const own = found.own_captions.map((caption) => ({ caption }));
    right.append(make("section", {}, make("h2", {}, "Its captions"), sentences(own, toSentence, why)));
  }
  right.append(...captionsNear(found, why));
  say(wanted.q.trim() ? "A picture that was found" : "A picture of the gallery");
  const back = wanted.q.trim() ? make("a", { className: "back", href: toSentence(wanted.q) }, "← All answers") : make("a", { className: "back", href: link({}) }, "← Start");
  put(back, ...beside(left, right, found));
}

function captionsNear(found, why) {
  if (!found.captions.length) return [];
  const told = found.captions.some((one) => one.own) ? "Blue: written for this picture." : null;
  return [make("section", {}, make("h2", {}, "Nearest captions"), told && make("p", {}, told), sentences(found.captions, toSentence, why))];
}

/** A picture, what is said of it beside it, and its neighbours below; beside it where nothing is said. */
function beside(left, right, found) {
  const near = make("section", {}, make("h2", {}, "Nearest pictures"), grid(found.answers, toPicture(""), tile, true));
  if (!right.hasChildNodes()) right.append(near);
  const detail = make("div", { className: "detail" }, left, right);
  return near.parentNode ? [detail] : [detail, near];
}

async function explain(image, sentence, section, left, box) {
  const own = waiting.signal, wait = section.querySelector(".wait");
  try {
    const found = await fetched("/api/explain", { run: run.run, image, q: sentence });
    const cut = found.num_words > found.words.length ? ` · the first ${found.words.length} of ${found.num_words} words` : "";
    section.querySelector("blockquote").textContent = found.sentence; // as the model reads it
    wait.replaceWith(make("p", {}, `Score ${number(found.score, 4)}${cut}`), wordTable(found));
    if (found.heat) {
      const source = address("/heat.png", { run: run.run, image, q: sentence, v: run.version });
      const map = make("img", { src: source, alt: `Heat map of the picture for: ${sentence}` });
      left.append(...switcher(box, box.firstChild, map, found.largest));
    } else if (found.why_not) {
      section.append(make("p", {}, `No heat map: ${found.why_not}`));
    }
  } catch (error) {
    if (!own.aborted) wait.textContent = `Not explained: ${error.message}`;
  }
  section.removeAttribute("aria-busy");
}

async function showSent(wanted) {
  const file = sent.get(wanted.sent);
  document.title = "Your picture · Matchbox";
  if (!file) throw new Error("a picture that you ask with is not kept when the page is loaded anew: choose it again");
  const body = { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" } };
  const found = await fetched("/api/picture", { run: run.run, k: 12 }, body);
  const source = URL.createObjectURL(file);
  const image = make("img", { src: source, alt: `Your picture: ${file.name}` });
  image.addEventListener("load", () => URL.revokeObjectURL(source));
  const left = make("div", { className: "left" }, make("div", { className: "frame" }, image), make("p", { className: "name" }, file.name));
  say("Your picture, compared with the gallery. It is not kept.");
  const back = make("a", { className: "back", href: link({}) }, "← Start");
  put(back, ...beside(left, make("div", {}, ...captionsNear(found, null)), found));
}

/** Goes to an address of this page. */
async function go(target, { replace = false, stay = false } = {}) {
  if (replace || new URL(target, location).href === location.href) history.replaceState(history.state, "", target);
  else history.pushState({ inside: true }, "", target);
  shown = location.href;
  await show();
  if (stay) return;
  scrollTo(0, 0);
  if (document.activeElement !== query) view.focus({ preventScroll: true }); // where reading goes on
}

/** Goes back or on; the picture that was looked at has the focus then. */
async function turn() {
  const left = shown;
  shown = location.href;
  await show();
  [...view.querySelectorAll(".tile")].find((one) => one.href === left)?.focus();
}

function send(file) {
  if (!file) return;
  problem.hidden = true;
  if (!run?.describes) return complain(new Error(`this picture cannot be asked with: ${run?.why_not ?? "no run is open"}`));
  if (file.size > run.most_bytes) return complain(new Error(`${file.name} has ${(file.size / 2 ** 20).toFixed(0)} MB: at most ${run.most_bytes >> 20} MB can be sent`));
  const key = String(Date.now()); // none of an earlier page
  sent.set(key, file);
  go(link({ sent: key }));
}

// What people do.

find("search").addEventListener("submit", (event) => {
  event.preventDefault();
  if (query.value.trim()) go(link({ q: query.value.trim() }));
  else { query.focus(); complain(new Error("write what the picture should show")); }
});
find("run").addEventListener("change", (event) => go(address("/", { run: event.target.value, q: asked().q })));
find("file").addEventListener("change", (event) => { send(event.target.files[0]); event.target.value = ""; });

document.addEventListener("click", (event) => {
  const target = event.target.closest("a[href]");
  if (!target || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  go(target.href);
});
addEventListener("popstate", turn);

addEventListener("dragover", (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  find("drop").hidden = false;
});
addEventListener("dragleave", (event) => { if (!event.relatedTarget) find("drop").hidden = true; });
addEventListener("drop", (event) => {
  event.preventDefault();
  find("drop").hidden = true;
  send(event.dataTransfer.files[0]);
});
addEventListener("paste", (event) => send(event.clipboardData.files[0]));

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const writing = event.target.closest("input[type=search], select");
  if (event.key === "/" && !writing) {
    event.preventDefault();
    query.focus();
    query.select();
  } else if (event.key === "Escape") {
    if (event.target === query) query.blur();
    else if (asked().image !== null || asked().sent !== null) leave();
  } else if (event.key.startsWith("Arrow") && (!writing || (event.target === query && event.key === "ArrowDown"))) {
    move(event);
  }
});

/** Back to where a picture was opened from. */
function leave() {
  if (history.state?.inside) history.back();
  else go(asked().q ? toSentence(asked().q) : link({}));
}

/** Arrow keys: the next tile to that side. */
function move(event) {
  const tiles = [...view.querySelectorAll(".tile")];
  const here = tiles.indexOf(document.activeElement);
  if (!tiles.length || (here < 0 && !["ArrowDown", "ArrowRight"].includes(event.key))) return;
  const top = tiles[0].getBoundingClientRect().top;
  const second = tiles.findIndex((one) => one.getBoundingClientRect().top > top + 1);
  const columns = second < 0 ? tiles.length : second;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
  event.preventDefault();
  tiles[here < 0 ? 0 : here + step]?.focus();
}

show();
