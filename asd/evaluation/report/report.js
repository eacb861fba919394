"use strict";
// The page's behaviour: one machine, one threshold and one clip are chosen; everything shown follows from them.
// Charts are Observable Plot's; sounds and pictures become files only when they are looked at.

const DATA = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const COLOURS = { normal: "var(--normal)", anomaly: "var(--anomaly)", training: "var(--training)", unknown: "var(--ink)" };
const state = { machine: 0, row: 0, thresholds: DATA.machines.map((m) => m.threshold) };

const machine = () => DATA.machines[state.machine];
const threshold = () => state.thresholds[state.machine];
const isCalled = (clip, limit) => clip.score > limit;
const number = (x) => (Math.abs(x) >= 1000 || (x && Math.abs(x) < 0.001) ? x.toExponential(2) : Number(x).toPrecision(4));
const percent = (x) => (100 * x).toFixed(1);
const of = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

function verdict(clip, limit) {
  if (!clip.label) return "";
  if (isCalled(clip, limit)) return clip.label === "anomaly" ? "hit" : "false alarm";
  return clip.label === "anomaly" ? "miss" : "right";
}

// ---- numbers at the threshold ----

// The exact interval of 95 % of Clopper and Pearson, Biometrika 26 (1934), as `evaluate` gives it, to 1e-6.
function interval(part, whole) {
  return [part && root(part, whole, 0.025), part < whole ? root(part + 1, whole, 0.975) : 1];
}

const logFactorial = [0];

// The rate at which so many or more of the whole are found with a probability.
function root(least, whole, probability) {
  while (logFactorial.length <= whole) logFactorial.push(logFactorial.at(-1) + Math.log(logFactorial.length));
  let low = 0, high = 1;
  while (high - low > 1e-6) {
    const p = (low + high) / 2, odds = Math.log(p / (1 - p)), start = logFactorial[whole] + whole * Math.log(1 - p);
    let found = 0;
    for (let i = least; i <= whole; i++) found += Math.exp(start - logFactorial[i] - logFactorial[whole - i] + i * odds);
    if (found < probability) low = p;
    else high = p;
  }
  return (low + high) / 2;
}

function share(part, whole, of = (x) => x) {
  if (!whole) return "–";
  const [low, high] = interval(part, whole).map(of);
  return `<span class="value">${percent(of(part / whole))}</span><span class="interval">${percent(low)} to ${percent(high)}</span>`;
}

function counts(clips, limit) {
  const found = { hit: 0, miss: 0, "false alarm": 0, right: 0 };
  for (const clip of clips) if (clip.label) found[verdict(clip, limit)] += 1;
  return found;
}

function drawDecisions() {
  const { clips, training, labelled } = machine(), limit = threshold();
  const above = training.filter((score) => score > limit).length;
  const called = clips.filter((clip) => isCalled(clip, limit)).length;
  const rows = [];
  let head = "<th></th><th class='n' scope='col'>all</th>";
  if (labelled) {
    const domains = [...new Set(clips.map((c) => c.domain))].filter(Boolean).sort();
    const groups = [clips, ...domains.map((d) => clips.filter((c) => c.domain === d))].map((g) => counts(g, limit));
    head = ["<th></th>", ...["all", ...(domains.length > 1 ? domains : [])].map((d) => `<th class="n" scope="col">${d}</th>`)].join("");
    const columns = domains.length > 1 ? groups : groups.slice(0, 1);
    const line = (name, cell) => rows.push(`<tr><th scope="row">${name}</th>${columns.map((c) => `<td class="n">${cell(c)}</td>`).join("")}</tr>`);
    line("anomalies found", (c) => `${c.hit} of ${c.hit + c.miss}`);
    line("false alarms", (c) => `${c["false alarm"]} of ${c["false alarm"] + c.right}`);
    line("precision", (c) => share(c.hit, c.hit + c["false alarm"]));
    line("recall", (c) => share(c.hit, c.hit + c.miss));
    line("false-alarm rate", (c) => share(c["false alarm"], c["false alarm"] + c.right));
    line("F1", (c) => share(c.hit, c.hit + c.miss + c["false alarm"], (x) => (2 * x) / (1 + x))); // grows with that share
  } else {
    rows.push(`<tr><th scope="row">called anomalous</th><td class="n">${called} of ${clips.length}</td></tr>`);
  }
  if (training.length) rows.push(`<tr><th scope="row">normal training clips above</th><td class="n">${share(above, training.length)}</td></tr>`);
  $("decisions").innerHTML = `<table><thead><tr>${head}</tr></thead><tbody>${rows.join("")}</tbody></table><p class="note">In per cent, with exact intervals of 95 %.</p>`;
  const all = DATA.machines.map((m, i) => m.clips.filter((c) => isCalled(c, state.thresholds[i])).length);
  $("called-all").textContent = all.reduce((a, b) => a + b, 0);
}

// ---- charts ----

// Scores on a line; where a few lie far out, on one that is logarithmic beyond the spread of normal scores.
function scoreScale() {
  const { clips, training, threshold: fitted } = machine();
  const scores = clips.map((c) => c.score), [low, high] = d3.extent([...scores, ...training, fitted, threshold()]);
  const usual = d3.sort(training.length ? training : scores);
  const spread = d3.quantileSorted(usual, 0.9) - d3.quantileSorted(usual, 0.1);
  const bent = spread > 0 && high - low > 12 * spread;
  const line = bent ? d3.scaleSymlog().constant(spread) : d3.scaleLinear();
  line.domain([low, high > low ? high : low + 1]).range([0.01, 0.99]);
  const ends = [line.invert(0), line.invert(1)];
  return { at: line, axis: { domain: ends, ...(bent ? { type: "symlog", constant: spread, ticks: apart(line, ends) } : {}) } };
}

// Round numbers on a bent line, the roundest first, as far as their names have room beside each other.
function apart(line, [low, high]) {
  const powers = d3.range(-3, 7).map((k) => 10 ** k), least = Math.max(0.08, 56 / width("histogram")), kept = [];
  for (const x of [0, ...[1, 5, 2].flatMap((m) => powers.flatMap((p) => [m * p, -m * p]))]) {
    if (low <= x && x <= high && kept.every((y) => Math.abs(line(x) - line(y)) > least)) kept.push(x);
  }
  return kept;
}

function put(id, plot, label) {
  plot.setAttribute("role", "img");
  plot.setAttribute("aria-label", label);
  $(id).replaceChildren(plot);
  return plot;
}
const width = (id) => Math.max(260, $(id).clientWidth);
const base = (id, height) => ({ width: width(id), height, style: { background: "none", color: "var(--ink)", fontSize: "12px" } });
const kinds = (names) => ({ domain: names, range: names.map((n) => COLOURS[n]) });

function drawHistogram() {
  const { clips, training, labelled, machine: name } = machine(), limit = threshold(), { at, axis } = scoreScale();
  const facet = (clip) => clip.domain || "clips";
  const rows = clips.map((c) => ({ score: c.score, group: facet(c), kind: c.label || "unknown" }));
  const groups = [...new Set(rows.map((r) => r.group))].sort();
  for (const score of training) rows.push({ score, group: "training", kind: "training" });
  if (training.length) groups.push("training");
  const names = ["normal", "anomaly", "unknown", "training"].filter((k) => rows.some((r) => r.kind === k));
  const plot = Plot.plot({
    ...base("histogram", 70 + 86 * groups.length), marginLeft: 46, marginRight: 74,
    fy: { domain: groups, label: null }, marginBottom: 40,
    y: { label: "share of clips (%)", percent: true, grid: true, ticks: 3 }, x: { label: "score", labelOffset: 36, ticks: Math.max(4, width("histogram") / 90), ...axis },
    color: { ...kinds(names), legend: true },
    marks: [
      Plot.rectY(rows, Plot.binX({ y: "proportion-facet" }, { x: "score", fy: "group", fill: "kind", thresholds: d3.range(0, 1.0001, 1 / 56).map((share) => at.invert(share)), insetLeft: 0.5, insetRight: 0.5 })),
      Plot.ruleY([0]),
      Plot.ruleX([limit], { stroke: "var(--threshold)", strokeWidth: 2, strokeDasharray: "5 3" }),
    ],
  });
  put("histogram", plot, `Histograms of the scores of ${name}${labelled ? " by domain and label" : ""}, with the threshold ${number(limit)}`);
}

function drawRoc() {
  const { roc, clips, machine: name } = machine();
  $("roc-card").hidden = !Object.keys(roc).length;
  if ($("roc-card").hidden) return;
  const lines = Object.entries(roc).flatMap(([curve, { fpr, tpr }]) => fpr.map((x, i) => ({ curve, x, y: tpr[i] })));
  const found = counts(clips, threshold());
  const here = { x: found["false alarm"] / Math.max(1, found["false alarm"] + found.right), y: found.hit / Math.max(1, found.hit + found.miss) };
  const all = lines.filter((p) => p.curve === "all clips");
  const edge = all.findIndex((p) => p.x > 0.1), before = all[Math.max(0, edge - 1)];
  const part = edge < 0 ? all : [...all.slice(0, edge), { x: 0.1, y: before.y + ((all[edge].y - before.y) * (0.1 - before.x)) / (all[edge].x - before.x) }];
  const names = ["all clips", "source", "target"].filter((n) => n in roc);
  const plot = Plot.plot({
    ...base("roc", Math.min(380, width("roc") * 0.86)), marginLeft: 44, marginBottom: 44,
    x: { label: "false-alarm rate", labelOffset: 38, domain: [0, 1], grid: true, ticks: 5 }, y: { label: "recall", domain: [0, 1], grid: true, ticks: 5 },
    color: { domain: names, range: ["var(--ink)", "var(--normal)", "var(--anomaly)"].slice(0, names.length), legend: true },
    marks: [
      Plot.areaY(part, { x: "x", y1: 0, y2: "y", fill: "var(--normal)", fillOpacity: 0.25 }),
      Plot.text([[0.11, 0.04]], { text: ["pAUC: up to 0.1"], textAnchor: "start", fill: "var(--soft)" }),
      Plot.line([[0, 0], [1, 1]], { stroke: "var(--soft)", strokeDasharray: "2 4" }),
      Plot.line(lines, { x: "x", y: "y", stroke: "curve", strokeWidth: (d) => (d.curve === "all clips" ? 2.4 : 1.4) }),
      Plot.dot([here], { x: "x", y: "y", r: 6, fill: "var(--threshold)", stroke: "var(--card)", strokeWidth: 2, tip: { fill: "var(--card)" } }),
    ],
  });
  put("roc", plot, `ROC curves of ${name}; at the threshold the false-alarm rate is ${percent(here.x)} % and recall ${percent(here.y)} %`);
}

const tip = (extra = {}) => ({ fill: "var(--card)", stroke: "var(--line)", ...extra });
const told = (c) => [c.file, `score ${number(c.score)}, rank ${c.rank}`, [c.label, c.domain, c.condition].filter(Boolean).join(", ")].filter(Boolean).join("\n");

function drawTime() {
  const { clips, machine: name } = machine();
  const dated = clips.map((c, row) => ({ ...c, row, when: c.at && new Date(c.at), kind: c.label || "unknown" })).filter((c) => c.when);
  $("time-card").hidden = new Set(dated.map((c) => c.at)).size < 2;
  if ($("time-card").hidden) return;
  const names = ["normal", "anomaly", "unknown"].filter((k) => dated.some((c) => c.kind === k));
  const plot = Plot.plot({
    ...base("time", 260), marginLeft: 46, x: { type: "time", label: null }, y: { label: "score", grid: true, ...scoreScale().axis }, color: { ...kinds(names), legend: true },
    marks: [
      Plot.ruleY([threshold()], { stroke: "var(--threshold)", strokeDasharray: "5 3", strokeWidth: 2 }),
      Plot.dot(dated, { x: "when", y: "score", fill: "kind", r: 3.5, title: told, tip: tip() }),
    ],
  });
  chooseOnClick(put("time", plot, `Scores of ${name} over time, with the threshold`));
}

function drawMap() {
  const { maps, map_training, map_rows, clips, machine: name, map_of } = machine();
  $("map-card").hidden = !Object.keys(maps).length;
  if ($("map-card").hidden) return;
  const method = $("map-method"), by = $("map-colour").value, limit = threshold();
  if (method.dataset.machine !== name) {
    method.replaceChildren(...Object.keys(maps).map((m) => of("option", { value: m, textContent: m })));
    method.dataset.machine = name;
  }
  const value = (c, isTraining) => {
    if (by === "label") return isTraining ? "training" : c.label || "unknown";
    if (by === "decision") return isTraining ? "training" : isCalled(c, limit) ? "called anomalous" : "called normal";
    return c[by] || "unknown";
  };
  const points = maps[method.value].map(([x, y], i) => {
    const isTraining = i >= map_rows.length, clip = isTraining ? map_training[i - map_rows.length] : clips[map_rows[i]];
    return { ...clip, x, y, isTraining, row: isTraining ? undefined : map_rows[i], of: value(clip, isTraining) };
  });
  const size = d3.rollup(points, (v) => v.length, (p) => p.of);
  const most = [...size].sort((a, b) => b[1] - a[1]).map(([k]) => k);
  const names = most.slice(0, 9).sort();
  const fixed = { ...COLOURS, "called anomalous": COLOURS.anomaly, "called normal": COLOURS.normal, source: COLOURS.normal, target: COLOURS.anomaly };
  const palette = ["var(--normal)", "var(--anomaly)", "#009E73", "#CC79A7", "#E69F00", "#8f7ad6", "#b0a000", "#7f8c8d", "#c0392b"];
  let next = 0;
  const range = names.map((n) => fixed[n] || palette[next++]);
  const rest = points.filter((p) => !names.includes(p.of));
  const shown = points.filter((p) => names.includes(p.of));
  const caption = (p) => (p.isTraining ? [p.file, "normal training clip", p.condition].filter(Boolean).join("\n") : told(p));
  const dots = { x: "x", y: "y", title: caption };
  const chosen = points.filter((p) => p.row === state.row);
  const plot = Plot.plot({
    ...base("map", Math.min(520, Math.max(300, width("map") * 0.42))), axis: null, inset: 12, color: { domain: names, range, legend: true },
    marks: [
      Plot.dot(rest, { ...dots, fill: "var(--line)", r: 2.5 }),
      Plot.dot(shown.filter((p) => p.isTraining), { ...dots, stroke: "of", r: 2.6, strokeOpacity: 0.6 }),
      Plot.dot(shown.filter((p) => !p.isTraining), { ...dots, fill: "of", r: 4, stroke: "var(--card)", strokeWidth: 0.7 }),
      Plot.dot(chosen, { x: "x", y: "y", r: 9, stroke: "var(--threshold)", strokeWidth: 2 }),
      Plot.tip(points, Plot.pointer({ ...dots, ...tip() })),
    ],
  });
  chooseOnClick(put("map", plot, `Map of the clips of ${name} by ${method.value}, coloured by ${by}`));
  $("map-note").textContent = `${method.value} of ${map_of}. Filled: scored clips; rings: normal training clips. Point at a clip for its name, press to choose it.` + (rest.length ? ` Grey: ${rest.length} clips of ${size.size - names.length} rarer values.` : "");
}

function drawComparison(place) {
  const { rows, reference } = DATA.comparisons[place.dataset.comparison];
  const others = rows.filter((r) => r.run !== reference);
  const in100 = others.map((r) => ({ run: r.run, d: 100 * r.difference, low: 100 * r.difference_low, high: 100 * r.difference_high }));
  const most = d3.max([1, ...in100.flatMap((r) => [Math.abs(r.low), Math.abs(r.high)])]);
  const plot = Plot.plot({
    width: Math.max(260, place.clientWidth - 36), height: 64 + 34 * others.length, marginLeft: 120, marginBottom: 44, style: { background: "none", color: "var(--ink)", fontSize: "12px" },
    x: { label: `difference to ${reference} (points)`, labelOffset: 38, grid: true, nice: true, domain: [-most, most] }, y: { label: null, domain: others.map((r) => r.run) },
    marks: [Plot.ruleX([0], { stroke: "var(--soft)" }), Plot.ruleY(in100, { y: "run", x1: "low", x2: "high", strokeWidth: 3, stroke: "var(--normal)" }), Plot.dot(in100, { y: "run", x: "d", r: 6, fill: "var(--normal)" })],
  });
  plot.setAttribute("role", "img");
  plot.setAttribute("aria-label", `Differences of scores to ${reference} with 95 % intervals; the table below has the numbers`);
  place.replaceChildren(plot);
}

function chooseOnClick(plot) {
  plot.addEventListener("click", () => {
    if (plot.value && plot.value.row !== undefined) choose(plot.value.row, true);
  });
}

// ---- the list ----

function listed() {
  const { clips } = machine(), wanted = $("show").value, part = $("find").value.toLowerCase(), limit = threshold();
  const fits = (c) => {
    if (part && !`${c.file} ${c.condition}`.toLowerCase().includes(part)) return false;
    if (wanted === "sound") return Boolean(c.sounds);
    if (wanted === "called") return isCalled(c, limit);
    return wanted === "all" || verdict(c, limit) === wanted;
  };
  return clips.map((c, row) => row).filter((row) => fits(clips[row])).sort((a, b) => clips[a].rank - clips[b].rank);
}

function chip(text, kind = "") {
  return of("span", { className: `chip ${kind}`, textContent: text });
}

function chipsOf(clip, limit) {
  const chips = [isCalled(clip, limit) ? chip("called anomalous", "anomalous") : chip("called normal")];
  const judged = verdict(clip, limit);
  if (judged === "false alarm" || judged === "miss") chips.push(chip(judged, "wrong"));
  else if (clip.label) chips.push(chip(clip.label, clip.label));
  if (clip.domain) chips.push(chip(clip.domain));
  if (clip.defect) chips.push(chip(clip.defect.replace(/ \(.*/, ""), "defect"));
  if (clip.sounds) chips.push(chip("sound", "sound"));
  return chips;
}

const PIECE = 100; // rows that are made at once, as the reader comes to them: thousands take seconds

function drawList() {
  state.listed = listed();
  $("list").replaceChildren();
  $("count").textContent = `${state.listed.length} of ${machine().clips.length} clips`;
  drawRows();
  mark(false);
}

function drawRows() {
  const { clips } = machine(), limit = threshold(), n = $("list").children.length;
  $("list").append(...state.listed.slice(n, n + PIECE).map((row, i) => listItem(clips[row], row, n + i, limit)));
}

function listItem(clip, row, place, limit) {
  const item = of("div", { className: "row", id: `row-${row}`, role: "option", ariaSetSize: state.listed.length, ariaPosInSet: place + 1 },
    of("span", { className: "rank", textContent: clip.rank }), of("span", { className: "name", textContent: clip.file }),
    of("span", { className: "score", textContent: number(clip.score) }), of("span", { className: "chips" }, ...chipsOf(clip, limit)));
  item.dataset.row = row;
  return item;
}

function drawRowsInSight() {
  const { scrollTop, clientHeight, scrollHeight, children } = $("list");
  if (children.length < state.listed.length && scrollTop + 2 * clientHeight > scrollHeight) drawRows();
}

function mark(scrolls) {
  for (const item of $("list").children) item.setAttribute("aria-selected", String(Number(item.dataset.row) === state.row));
  const item = $(`row-${state.row}`);
  if (item) $("list").setAttribute("aria-activedescendant", item.id);
  else $("list").removeAttribute("aria-activedescendant");
  if (item && scrolls) item.scrollIntoView({ block: "nearest" });
}

function choose(row, scrolls = false) {
  state.row = row;
  while (state.listed.includes(row) && !$(`row-${row}`)) drawRows();
  mark(true);
  drawDetail();
  drawMap();
  if (scrolls) $("list").scrollIntoView({ block: "nearest" });
}

// ---- the chosen clip ----

const files = new Map();
function fileOf(id) {
  if (!files.has(id)) {
    const place = $(`media-${id}`), bytes = Uint8Array.from(atob(place.textContent), (c) => c.charCodeAt(0));
    files.set(id, URL.createObjectURL(new Blob([bytes], { type: place.dataset.kind })));
  }
  return files.get(id);
}

function player(title, file, clip, which, id) {
  const audio = of("audio", { controls: true, preload: "auto", src: fileOf(clip.sounds[which]), id });
  audio.setAttribute("aria-label", `${title}: ${file}`);
  const head = of("i", { hidden: true });
  const image = of("img", { src: fileOf(clip.pictures[which]), alt: `Spectrogram of ${file}: 0 to ${clip.top_hz} Hz on the mel scale, ${clip.seconds[which]} s, ${which ? "normal" : "score " + number(clip.score)}` });
  const screen = of("div", { className: "screen" }, image, head);
  const follow = () => {
    head.hidden = false;
    head.style.left = `${(100 * audio.currentTime) / clip.seconds[which]}%`;
    if (!audio.paused) requestAnimationFrame(follow);
  };
  audio.addEventListener("play", () => {
    for (const other of document.querySelectorAll("audio")) if (other !== audio) other.pause();
    follow();
  });
  audio.addEventListener("seeked", follow);
  screen.addEventListener("click", (event) => {
    audio.currentTime = (clip.seconds[which] * event.offsetX) / screen.clientWidth;
    audio.play();
  });
  const axis = of("div", { className: "axis" }, of("span", { textContent: "0 s" }), of("span", { textContent: `0 to ${clip.top_hz / 1000} kHz` }), of("span", { textContent: `${clip.seconds[which]} s` }));
  return of("figure", {}, of("figcaption", {}, of("b", { textContent: title }), file), screen, axis, audio);
}

function facts(clip, limit) {
  const pairs = [["score", number(clip.score)], ["threshold", number(limit)], ["rank", `${clip.rank} of ${machine().clips.length}`]];
  if (clip.share !== null) pairs.push(["normal training clips with a higher score", `${percent(clip.share)} %`]);
  for (const key of ["label", "domain", "section", "condition"]) if (clip[key]) pairs.push([key, clip[key]]);
  if (clip.defect) pairs.push(["the recording", `${clip.defect}: its score means little`]);
  if (clip.at) pairs.push(["recorded", clip.at.replace("T", " ")]);
  if (clip.distance_db !== undefined) pairs.push(["distance to the normal one", `${clip.distance_db} dB per band`]);
  return of("dl", {}, ...pairs.map(([key, value]) => of("div", {}, of("dt", { textContent: key }), of("dd", { textContent: value }))));
}

function enlargeable(src, alt) {
  const button = of("button", { type: "button", title: "Enlarge" }, of("img", { src, alt }));
  button.addEventListener("click", () => {
    Object.assign($("large").querySelector("img"), { src, alt });
    $("large").showModal();
  });
  return button;
}

function drawDetail() {
  const clip = machine().clips[state.row], limit = threshold(), detail = $("detail");
  if (!clip) return detail.replaceChildren();
  const parts = [of("h4", { textContent: clip.file }), of("span", { className: "chips" }, ...chipsOf(clip, limit)), facts(clip, limit)];
  if (clip.sounds) {
    parts.push(of("div", { className: "pair" }, player("This clip", clip.file, clip, 0, "play"), player("Nearest normal recording", clip.nearest, clip, 1, "play-normal")));
  } else {
    parts.push(of("p", { className: "note", textContent: "This clip's sound is not part of the page; the notes below say which are. Choose “clips to listen to” above the list." }));
  }
  if (clip.explained) {
    const words = `What raised the score: ${clip.effects.top_bands || "no band"}; ${clip.effects.top_stretch || "no stretch of time"}; level ${Math.abs(clip.effects.louder_db)} dB ${clip.effects.louder_db < 0 ? "below" : "above"} the normal one`;
    parts.push(of("figure", { className: "explained" }, enlargeable(fileOf(clip.explained), words), of("figcaption", { textContent: words })));
  }
  detail.replaceChildren(...parts);
}

// ---- what the reader does ----

function follow() {
  $("threshold-value").textContent = number(threshold());
  drawDecisions();
  drawHistogram();
  drawRoc();
  drawTime();
  if ($("map-colour").value === "decision") drawMap();
}

function setThreshold(value) {
  state.thresholds[state.machine] = value;
  $("threshold").value = Math.round(1000 * scoreScale().at(value));
  $("threshold").setAttribute("aria-valuetext", number(value));
  follow();
  drawList();
  drawDetail();
}

function setMachine(index) {
  state.machine = index;
  [...$("machines").children].forEach((button, i) => button.setAttribute("aria-pressed", String(i === index)));
  $("notes").replaceChildren(...machine().notes.map((note) => of("li", { textContent: note })));
  $("map-method").dataset.machine = "";
  if (!machine().labelled && $("map-colour").value === "label") $("map-colour").value = "decision"; // there is no other
  state.row = listed()[0] ?? 0;
  setThreshold(threshold());
  drawMap();
}

function step(by) {
  const rows = state.listed, at = rows.indexOf(state.row);
  if (rows.length) choose(rows[Math.min(rows.length - 1, Math.max(0, at + by))]);
}

function toggle(id) {
  const audio = $(id);
  if (audio) audio.paused ? audio.play() : audio.pause();
}

const KEYS = {
  ArrowDown: () => step(1), ArrowUp: () => step(-1), PageDown: () => step(10), PageUp: () => step(-10),
  Home: () => step(-Infinity), End: () => step(Infinity), " ": () => toggle("play"), n: () => toggle("play-normal"),
};

function onKey(event) {
  const own = $("large").open || event.target.closest?.("input, select, button, audio, a, textarea");
  if (own || event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
  if (event.target !== $("list") && !["ArrowDown", "ArrowUp", " ", "n"].includes(event.key)) return;
  event.preventDefault();
  KEYS[event.key]();
}

function setTheme(theme) {
  document.documentElement.style.colorScheme = theme === "auto" ? "" : theme;
  $("theme").textContent = `Theme: ${theme}`;
  $("theme").dataset.theme = theme;
}

function start() {
  $("machines").replaceChildren(...DATA.machines.map((m, i) => of("button", { type: "button", textContent: m.machine, onclick: () => setMachine(i) })));
  $("threshold").addEventListener("input", (event) => setThreshold(scoreScale().at.invert(Number(event.target.value) / 1000)));
  $("reset").addEventListener("click", () => setThreshold(machine().threshold));
  $("list").addEventListener("click", (event) => {
    const item = event.target.closest(".row");
    if (item) choose(Number(item.dataset.row));
  });
  $("list").addEventListener("scroll", drawRowsInSight);
  for (const id of ["show", "find"]) $(id).addEventListener("input", drawList);
  for (const id of ["map-method", "map-colour"]) $(id).addEventListener("change", drawMap);
  document.addEventListener("keydown", onKey);
  const themes = ["auto", "light", "dark"];
  $("theme").addEventListener("click", () => setTheme(themes[(themes.indexOf($("theme").dataset.theme) + 1) % 3]));
  setTheme("auto");
  const comparisons = () => document.querySelectorAll("[data-comparison]").forEach(drawComparison);
  let last = window.innerWidth, timer;
  window.addEventListener("resize", () => {
    clearTimeout(timer);
    if (window.innerWidth !== last) timer = setTimeout(() => { last = window.innerWidth; comparisons(); follow(); drawMap(); }, 150);
  });
  comparisons();
  setMachine(0);
}

start();
