"use strict";
// The browser of responses. Texts lie in the page as base64 of gzip, in inert elements; a chunk is opened when one of its
// rows is looked at or searched. Whatever a model wrote reaches the page as text nodes only.
(() => {
  const root = document.getElementById("browser");
  if (!root) return;
  const $ = (id) => document.getElementById("browser-" + id);
  if (typeof DecompressionStream === "undefined") {
    $("status").textContent = "This browser cannot open compressed texts (DecompressionStream is missing).";
    return;
  }

  const MAX_OPEN = 40;
  const open = new Map();
  let index = null, pairs = [], matches = [], position = 0, searching = 0, drawing = 0;

  function decoded(base64) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
    const packed = atob(base64), bytes = new Uint8Array(packed.length);
    for (let i = 0; i < packed.length; i++) bytes[i] = packed.charCodeAt(i);
    return bytes;
  }

  async function unpack(id) {
    const stream = new Blob([decoded(document.getElementById(id).textContent)]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).json();
  }

  async function openChunk(id) {
    let texts = open.get(id);
    if (texts === undefined) {
      texts = unpack(id);
      open.set(id, texts);
      if (open.size > MAX_OPEN) open.delete(open.keys().next().value);
    }
    return texts;
  }

  function chunkOf(model, row) {
    let first = 0;
    for (let i = 0; i < model.counts.length; i++) {
      if (row < first + model.counts[i]) return [model.chunks[i], row - first];
      first += model.counts[i];
    }
    throw new RangeError("row " + row);
  }

  async function textOf(model, row) {
    const [id, place] = chunkOf(model, row);
    return (await openChunk(id))[place];
  }

  const current = () => index.sets[+$("set").value];
  const side = (name) => ($(name + "-model").value === "" ? null : current().models[+$(name + "-model").value]);

  function fill(select, names, chosen) {
    select.replaceChildren(...names.map(([value, name]) => new Option(name, value, value === chosen, value === chosen)));
  }

  function chooseSet(left, right) {
    const names = current().models.map((model, i) => [String(i), model.name]);
    fill($("left-model"), names, String(left));
    fill($("right-model"), [...names, ["", "nothing beside it"]], right === null ? "" : String(right));
    pairUp();
  }

  function defaults() {
    const models = current().models;
    const base = Math.max(0, models.findIndex((model) => model.is_base));
    return [base, models.length < 2 ? null : base === models.length - 1 ? 0 : models.length - 1];
  }

  function pairUp() {
    const left = side("left"), right = side("right");
    const key = (model, i) => model.problem[i] + "/" + model.sample[i];
    const others = new Map();
    if (right) right.problem.forEach((_, i) => others.set(key(right, i), i));
    pairs = left.problem.map((_, i) => [i, right ? others.get(key(left, i)) : null]).filter(([, j]) => j !== undefined);
    $("right").hidden = $("right-filter").hidden = !right;
    countGrades("left", left, 0);
    if (right) countGrades("right", right, 1);
  }

  function countGrades(name, model, which) {
    const counts = index.grades.map(() => 0);
    for (const pair of pairs) counts[model.grade[pair[which]]]++;
    const words = index.grades.map((grade, i) => [String(i), grade.replace("_", " ") + " (" + counts[i].toLocaleString("en") + ")"]);
    const chosen = $(name + "-grade").value;
    fill($(name + "-grade"), [["", "any grade"], ...words.filter((_, i) => counts[i] || String(i) === chosen)], chosen);
  }

  function passes(name, model, row) {
    const grade = $(name + "-grade").value, low = $(name + "-min").value, high = $(name + "-max").value;
    const tokens = model.tokens[row];
    return (grade === "" || model.grade[row] === +grade) && (low === "" || tokens >= +low) && (high === "" || tokens <= +high);
  }

  const ORDERS = {
    file: null,
    saved: (left, right) => ([a, b]) => (right ? right.tokens[b] / Math.max(1, left.tokens[a]) : left.tokens[a]),
    grown: (left, right) => ([a, b]) => -(right ? right.tokens[b] / Math.max(1, left.tokens[a]) : left.tokens[a]),
    longest: (left, right) => ([a, b]) => -(right ? right.tokens[b] : left.tokens[a]),
  };

  async function filter(keep) {
    const mine = ++searching;
    const left = side("left"), right = side("right");
    let found = pairs.filter(([a, b]) => passes("left", left, a) && (!right || passes("right", right, b)));
    const query = $("search").value.trim().toLowerCase();
    if (query) found = await search(found, query, left, right, () => mine === searching);
    if (mine !== searching) return;
    const order = ORDERS[$("order").value];
    if (order) {
      const measure = order(left, right);
      found = found.map((pair) => [measure(pair), pair]).sort((x, y) => x[0] - y[0]).map((x) => x[1]);
    }
    matches = found;
    position = keep ? Math.max(0, matches.findIndex(([a]) => left.problem[a] === keep.problem && left.sample[a] === keep.sample)) : 0;
    show();
  }

  async function search(found, query, left, right, isWanted) {
    const kept = [];
    const problems = current().problems.map((problem) => problem[1].toLowerCase().includes(query));
    for (let i = 0; i < found.length; i++) {
      const [a, b] = found[i];
      let hit = problems[left.problem[a]] || (await textOf(left, a))[0].toLowerCase().includes(query);
      if (!hit && right) hit = (await textOf(right, b))[0].toLowerCase().includes(query);
      if (hit) kept.push(found[i]);
      if (i % 2000 === 1999) {
        $("status").textContent = "Searching: " + Math.round((100 * i) / found.length) + "%";
        await new Promise((resolve) => setTimeout(resolve));
        if (!isWanted()) return [];
      }
    }
    return kept;
  }

  async function show() {
    const mine = ++drawing;
    const total = matches.length, all = pairs.length.toLocaleString("en");
    $("previous").disabled = position <= 0;
    $("next").disabled = position >= total - 1;
    $("at").value = total ? position + 1 : 0;
    $("at").max = total;
    $("of").textContent = "of " + total.toLocaleString("en");
    $("status").textContent = total === pairs.length ? "" : total.toLocaleString("en") + " of " + all + " match";
    $("stage").hidden = !total;
    $("none").hidden = !!total;
    if (!total) return;
    const left = side("left"), right = side("right");
    const [a, b] = matches[position];
    const [id, question, gold] = current().problems[left.problem[a]];
    const texts = [await textOf(left, a), right ? await textOf(right, b) : null];
    if (mine !== drawing) return;
    $("problem").textContent = id + ", sample " + left.sample[a];
    mark($("question"), question);
    $("gold").textContent = gold;
    tell("left", left, a, texts[0]);
    if (right) tell("right", right, b, texts[1]);
    root.dataset.ready = "true";
  }

  function tell(name, model, row, [text, answer]) {
    const grade = index.grades[model.grade[row]];
    $(name + "-name").textContent = model.name;
    $(name + "-tokens").textContent = model.tokens[row].toLocaleString("en") + " tokens";
    $(name + "-dot").className = "dot " + grade;
    $(name + "-said").textContent = grade.replace("_", " ") + (answer === null ? "" : ", answered " + answer);
    mark($(name + "-text"), text);
    $(name + "-text").scrollTop = 0;
  }

  function mark(element, text) {
    const query = $("search").value.trim().toLowerCase(), lower = text.toLowerCase();
    const nodes = [];
    let from = 0;
    if (query && lower.length === text.length)
      for (let at = lower.indexOf(query); at >= 0 && nodes.length < 400; at = lower.indexOf(query, from)) {
        const hit = document.createElement("mark");
        hit.textContent = text.slice(at, at + query.length);
        nodes.push(document.createTextNode(text.slice(from, at)), hit);
        from = at + query.length;
      }
    element.replaceChildren(...nodes, document.createTextNode(text.slice(from)));
  }

  function move(by) {
    const next = Math.min(Math.max(position + by, 0), matches.length - 1);
    if (next !== position && next >= 0) { position = next; show(); }
  }

  function pick(choice) {
    for (const name of ["left", "right"]) for (const what of ["grade", "min", "max"]) $(name + "-" + what).value = "";
    $("search").value = "";
    $("order").value = "file";
    $("set").value = String(choice.set);
    chooseSet(choice.left, choice.right);
    return filter(choice);
  }

  function listen() {
    let waiting = 0;
    const soon = () => { clearTimeout(waiting); waiting = setTimeout(() => filter(), 250); };
    $("set").addEventListener("change", () => { chooseSet(...defaults()); filter(); });
    for (const name of ["left", "right"]) {
      $(name + "-model").addEventListener("change", () => { pairUp(); filter(); });
      $(name + "-grade").addEventListener("change", () => filter());
      for (const what of ["min", "max"]) $(name + "-" + what).addEventListener("input", soon);
    }
    $("order").addEventListener("change", () => filter());
    $("search").addEventListener("input", soon);
    $("previous").addEventListener("click", () => move(-1));
    $("next").addEventListener("click", () => move(1));
    $("at").addEventListener("change", () => { position = Math.min(Math.max(+$("at").value - 1 || 0, 0), matches.length - 1); show(); });
    root.addEventListener("keydown", (event) => {
      if (/^(INPUT|SELECT)$/.test(event.target.tagName) || event.altKey || event.ctrlKey || event.metaKey) return;
      if (event.key === "ArrowLeft") move(-1);
      if (event.key === "ArrowRight") move(1);
    });
  }

  async function start() {
    index = await unpack("browser-index");
    fill($("set"), index.sets.map((set, i) => [String(i), set.name]), "0");
    $("set-label").hidden = index.sets.length < 2;
    for (const choice of index.picks) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = choice.reason;
      button.addEventListener("click", () => pick(choice));
      $("picks").append(button);
    }
    listen();
    if (index.picks.length) return pick(index.picks[0]);
    chooseSet(...defaults());
    return filter();
  }

  root.hidden = false;
  const near = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) { near.disconnect(); start(); }
  }, { rootMargin: "800px" });
  near.observe(root);
})();
