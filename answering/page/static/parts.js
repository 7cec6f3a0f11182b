// What the page is made of. All text goes in as text: nothing here reads HTML.
"use strict";

/** An element with properties, attributes ("aria-label", "data-x") and children (nodes or texts). */
function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "scope") node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

function number(value, digits = 3) {
  return value.toFixed(digits).replace("-", "−");
}

function signed(value, digits = 4) {
  return (value > 0 ? "+" : "") + number(value, digits);
}

/** The address of something of a run. */
function address(path, values) {
  const kept = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const said = new URLSearchParams(kept).toString();
  return said ? `${path}?${said}` : path;
}

/** The picture of a tile; its caption stands for one that is not there. */
function frame(one, source, alt) {
  const box = make("div", { className: "frame" });
  const words = make("span", { className: "words", dir: "auto" }, one.caption || one.name);
  if (!one.picture) {
    box.append(words);
    return box;
  }
  const image = make("img", { src: source, alt, loading: "lazy", decoding: "async", width: 320, height: 320 });
  image.addEventListener("error", () => box.replaceChildren(words));
  box.append(image);
  return box;
}

/** Pictures in order, each a link. */
function grid(ones, link, picture, ranked) {
  const list = make("ol", { className: "grid" });
  ones.forEach((one, place) => {
    const said = one.caption || one.name;
    const tile = make("a", { className: one.fits ? "tile fits" : "tile", href: link(one) });
    tile.append(frame(one, picture(one), one.picture ? said : ""));
    if (ranked) {
      tile.append(make("div", { className: "under" },
        make("span", { className: "rank" }, one.fits ? `${place + 1} fits` : String(place + 1)),
        make("span", { className: "score" }, make("span", { className: "hidden" }, "score "), (one.weak ? "weak · " : "") + number(one.score))));
    }
    if (one.picture) {
      const kind = one.caption ? "caption" : "caption file";
      tile.append(make("p", { className: kind, dir: "auto", "aria-hidden": "true" }, said));
    }
    list.append(make("li", {}, tile));
  });
  return list;
}

/** Tiles that stand where answers will. */
function skeleton(count) {
  const list = make("ol", { className: "grid skeleton", "aria-hidden": "true" });
  for (let place = 0; place < count; place += 1) list.append(make("li", {}, make("div", { className: "frame" })));
  return list;
}

/** Sentences in order: each finds its pictures; `why` explains it for the picture at hand. */
function sentences(ones, find, why) {
  const scored = ones.some((one) => "score" in one);
  const list = make("ol", { className: scored ? "sentences" : "sentences plain" });
  for (const one of ones) {
    const line = make("li", { className: one.own && scored ? "own" : "" });
    if (scored) line.append(make("span", { className: "score" }, number(one.score)));
    const link = make("a", { className: "find", dir: "auto", href: find(one.caption) }, one.caption);
    line.append(make("span", {}, link, one.own && scored ? make("span", { className: "hidden" }, " (its own)") : ""));
    if (why) line.append(make("a", { className: "why", href: why(one.caption), "aria-label": `Why: ${one.caption}` }, "why?"));
    list.append(line);
  }
  return list;
}

/** What the score loses or gains without each word: a bar from a common zero. */
function wordTable(found) {
  const changes = found.words.map((word) => word.change ?? 0);
  const least = Math.min(0, ...changes);
  const span = Math.max(0, ...changes) - least || 1;
  const zero = (-least / span) * 100;
  const table = make("table", {}, make("caption", {}, "How the score changes without a word. Blue, below 0: the word supports the match."));
  const body = make("tbody");
  for (const word of found.words) {
    const track = make("div", { className: "track" });
    if (word.change) {
      const bar = make("i", { className: word.change < 0 ? "for" : "against" });
      const width = (Math.abs(word.change) / span) * 100;
      bar.style.width = `${width}%`;
      bar.style.left = `${word.change < 0 ? zero - width : zero}%`;
      track.append(bar);
    }
    const line = make("b");
    line.style.left = `${zero}%`;
    track.append(line);
    body.append(make("tr", {},
      make("th", { scope: "row", title: word.word }, word.word),
      make("td", { className: "bars", "aria-hidden": "true" }, track),
      make("td", { className: "number" }, word.change === null ? word.note : signed(word.change))));
  }
  table.append(body);
  return table;
}

/** The picture and its heat map, one at a time. */
function switcher(box, picture, map, largest) {
  const scale = make("div", { className: "scale", hidden: true },
    make("div", { className: "bar" }),
    make("div", { className: "ends" }, make("span", {}, signed(-largest, 3)), make("span", {}, "0"), make("span", {}, signed(largest, 3))),
    make("p", {}, "Blue: the score falls where this is covered, so the match comes from here."));
  const buttons = ["Picture", "Heat map"].map((label) => make("button", { type: "button" }, label));
  const choose = (place) => {
    buttons.forEach((button, own) => button.setAttribute("aria-pressed", String(own === place)));
    box.replaceChildren([picture, map][place]);
    scale.hidden = place === 0;
  };
  buttons.forEach((button, place) => button.addEventListener("click", () => choose(place)));
  choose(0);
  return [make("div", { className: "switch", role: "group", "aria-label": "What is shown" }, ...buttons), scale];
}
